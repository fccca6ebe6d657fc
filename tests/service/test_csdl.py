"""Service documents and `$metadata` as services, proxies and mischief write them."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intune_dw_cli.errors import ProtocolError
from intune_dw_cli.service.csdl import (
    EntitySetInfo,
    Metadata,
    Property,
    parse_metadata,
    parse_service_document,
)

EDMX = "http://docs.oasis-open.org/odata/ns/edmx"
EDM = "http://docs.oasis-open.org/odata/ns/edm"


def edmx(*schemas: str) -> str:
    return (
        f'<?xml version="1.0" encoding="utf-8"?><edmx:Edmx Version="4.0" xmlns:edmx="{EDMX}">'
        f"<edmx:DataServices>{''.join(schemas)}</edmx:DataServices></edmx:Edmx>"
    )


def schema(content: str, namespace: str = "Microsoft.Intune.Warehouse", alias: str = "") -> str:
    more = f' Alias="{alias}"' if alias else ""
    return f'<Schema Namespace="{namespace}" xmlns="{EDM}"{more}>{content}</Schema>'


def container(*sets: tuple[str, str]) -> str:
    items = "".join(f'<EntitySet Name="{name}" EntityType="{kind}"/>' for name, kind in sets)
    return f'<EntityContainer Name="Default">{items}</EntityContainer>'


def entity(name: str, content: str = "", base: str = "") -> str:
    more = f' BaseType="{base}"' if base else ""
    return f'<EntityType Name="{name}"{more}>{content}</EntityType>'


def key(*names: str) -> str:
    return "<Key>" + "".join(f'<PropertyRef Name="{name}"/>' for name in names) + "</Key>"


def prop(name: str, kind: str = "Edm.String", facets: str = "") -> str:
    return f'<Property Name="{name}" Type="{kind}" {facets}/>'


NS = "Microsoft.Intune.Warehouse"
SIMPLE = edmx(
    schema(
        entity("Device", key("deviceKey") + prop("deviceKey", "Edm.Int64", 'Nullable="false"') + prop("name"))
        + container(("devices", f"{NS}.Device"))
    )
)


def read(*schemas: str) -> Metadata:
    return parse_metadata(edmx(*schemas).encode())


def names(metadata: Metadata, set_name: str) -> list[str]:
    kind = metadata.entity_type_of(set_name)
    assert kind is not None
    return [item.name for item in kind.properties]


def only_property(facets: str, more: str = "") -> Property:
    content = entity("T", f'<Property Name="p" {facets}/>') + container(("s", f"{NS}.T"))
    kind = read(schema(content + more)).entity_type_of("s")
    assert kind is not None
    return kind.properties[0]


def test_set_type_key_and_properties() -> None:
    kind = parse_metadata(SIMPLE.encode()).entity_type_of("devices")
    assert kind is not None
    assert kind.name == f"{NS}.Device"
    assert kind.key == ("deviceKey",)
    assert kind.properties == (
        Property("deviceKey", "Edm.Int64", nullable=False),
        Property("name", "Edm.String", nullable=True),
    )


def test_set_name_falls_back_to_ignoring_case() -> None:
    content = entity("A", prop("a")) + entity("B", prop("b"))
    metadata = read(schema(content + container(("things", f"{NS}.A"), ("Things", f"{NS}.B"))))
    assert names(metadata, "things") == ["a"]
    assert names(metadata, "Things") == ["b"]
    assert names(metadata, "THINGS") == ["a"]
    assert metadata.entity_type_of("other") is None


def test_the_type_of_another_set_that_is_listed_is_not_taken_for_ones_own() -> None:
    metadata = read(schema(entity("A", prop("a")) + container(("things", f"{NS}.A"))))
    assert metadata.entity_type_of("Things") is not None
    assert metadata.entity_type_of("Things", {"Things", "things"}) is None


def test_alias_other_schemas_and_containers() -> None:
    metadata = read(
        schema(container(("a", "Self.A"), ("b", "Model.B"), ("c", "Other.Name.Space.B")), "The.Service"),
        schema(entity("A", prop("x", "M.Colour")) + '<EnumType Name="Colour"/>', "Some.Model", "Self"),
        schema(entity("B", prop("y")), "Other.Name.Space", "Model"),
        schema(container(("d", "Self.A")), "Second", "M").replace('Alias="M"', ""),
    )
    assert names(metadata, "a") == names(metadata, "d") == ["x"]
    assert names(metadata, "b") == names(metadata, "c") == ["y"]


def test_alias_of_an_included_namespace() -> None:
    text = edmx(schema(entity("A", prop("x")), "Far.Away") + schema(container(("a", "F.A")), "Near"))
    include = '<edmx:Reference Uri="x"><edmx:Include Namespace="Far.Away" Alias="F"/></edmx:Reference>'
    metadata = parse_metadata(text.replace("<edmx:DataServices>", include + "<edmx:DataServices>").encode())
    assert names(metadata, "a") == ["x"]


def test_base_types_come_first_and_lend_their_key() -> None:
    metadata = read(
        schema(
            entity("C", prop("c") + prop("a"), f"{NS}.B")
            + entity("B", prop("b"), f"{NS}.A")
            + entity("A", key("a", "z") + prop("z") + prop("a", "Edm.Int32"))
            + container(("cs", f"{NS}.C"))
        )
    )
    kind = metadata.entity_type_of("cs")
    assert kind is not None
    assert kind.key == ("a", "z")
    assert [(item.name, item.type) for item in kind.properties] == [
        ("z", "Edm.String"),
        ("a", "Edm.Int32"),
        ("b", "Edm.String"),
        ("c", "Edm.String"),
    ]


def test_circle_of_base_types_ends() -> None:
    content = entity("A", prop("a"), f"{NS}.B") + entity("B", prop("b"), f"{NS}.A")
    metadata = read(schema(content + container(("as", f"{NS}.A"))))
    assert sorted(names(metadata, "as")) == ["a", "b"]


def test_unknown_entity_type_leaves_the_set_out() -> None:
    metadata = read(schema(container(("ghosts", f"{NS}.Ghost"), ("broken", ""))))
    assert metadata.entity_type_of("ghosts") is None
    assert metadata.entity_sets == {}


def test_odd_namespace_resolves_by_simple_name_when_it_is_the_only_one() -> None:
    one = schema(entity("A", prop("x")), "One")
    assert names(read(one, schema(container(("s", "Elsewhere.A")), "C")), "s") == ["x"]
    two = schema(entity("A", prop("y")), "Two")
    assert read(one, two, schema(container(("s", "Elsewhere.A")), "C")).entity_type_of("s") is None


def test_duplicates_are_ignored() -> None:
    content = entity("A", prop("x") + prop("x", "Edm.Int64")) + entity("A", prop("y"))
    metadata = read(schema(content + container(("s", f"{NS}.A"), ("s", f"{NS}.B"))))
    kind = metadata.entity_type_of("s")
    assert kind is not None
    assert kind.properties == (Property("x", "Edm.String"),)


def test_only_own_properties_count() -> None:
    annotation = '<Annotation Term="T"><Record><PropertyValue Property="x"/></Record></Annotation>'
    content = entity("A", annotation + '<NavigationProperty Name="n" Type="x"/>' + prop("x") + "<Property/>")
    complex_type = '<ComplexType Name="C"><Property Name="inner" Type="Edm.String"/></ComplexType>'
    assert names(read(schema(content + complex_type + container(("s", f"{NS}.A")))), "s") == ["x"]


@pytest.mark.parametrize(
    ("facets", "expected"),
    [
        ('Type="Edm.Decimal" Precision="18" Scale="4"', Property("p", "Edm.Decimal", precision=18, scale=4)),
        ('Type="Edm.Decimal" Scale="variable"', Property("p", "Edm.Decimal", scale="variable")),
        ('Type="Edm.Decimal" Scale="floating"', Property("p", "Edm.Decimal", scale="variable")),
        ('Type="Edm.DateTimeOffset" Precision="7"', Property("p", "Edm.DateTimeOffset", precision=7)),
        ('Type="Edm.String" MaxLength="max"', Property("p", "Edm.String")),
        (
            'Type="Edm.String" MaxLength="64" Nullable="False"',
            Property("p", "Edm.String", False, None, None, 64),
        ),
        ('Type="Edm.String" MaxLength="-1" Precision="x" Scale=""', Property("p", "Edm.String")),
        ('Type="Collection(Edm.String)"', Property("p", "Collection(Edm.String)")),
        (f'Type="{NS}.Colour"', Property("p", "Edm.String", enum=True)),
        (f'Type="{NS}.Place"', Property("p", f"{NS}.Place")),
        (f'Type="Collection({NS}.Colour)"', Property("p", f"Collection({NS}.Colour)")),
        (f'Type="{NS}.Money"', Property("p", "Edm.Decimal", precision=19, scale=2)),
        (f'Type="{NS}.Money" Scale="4"', Property("p", "Edm.Decimal", precision=19, scale=4)),
        (f'Type="{NS}.Loop"', Property("p", f"{NS}.Loop")),
        ('Type="Who.Knows"', Property("p", "Who.Knows")),
        ("", Property("p", "Edm.Untyped")),
    ],
)
def test_types_and_facets(facets: str, expected: Property) -> None:
    more = (
        '<EnumType Name="Colour"><Member Name="Red"/></EnumType><ComplexType Name="Place"/>'
        '<TypeDefinition Name="Money" UnderlyingType="Edm.Decimal" Precision="19" Scale="2"/>'
        f'<TypeDefinition Name="Loop" UnderlyingType="{NS}.Loop"/>'
    )
    assert only_property(facets, more) == expected


def test_foreign_prefixes_and_namespaces_are_matched_by_local_name() -> None:
    text = SIMPLE.replace(EDM, "urn:other").replace(EDMX, "urn:elsewhere").replace("edmx:", "q:")
    assert names(parse_metadata(text.replace("xmlns:edmx", "xmlns:q").encode()), "devices") == [
        "deviceKey",
        "name",
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("declared", ["utf-8", "utf-16"])
def test_encodings(encoding: str, declared: str) -> None:
    text = SIMPLE.replace('encoding="utf-8"', f'encoding="{declared}"').replace('"name"', '"größe"')
    assert names(parse_metadata(text.encode(encoding)), "devices") == ["deviceKey", "größe"]


def test_declared_latin1() -> None:
    text = SIMPLE.replace("utf-8", "iso-8859-1").replace('"name"', '"größe"')
    assert names(parse_metadata(text.encode("latin-1")), "devices") == ["deviceKey", "größe"]


LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"{}",
        b"not xml",
        b"<html><body>Sign in</body></html>",
        b"<!DOCTYPE html><html></html>",
        b"<edmx:Edmx/>",
        b"<Error><Code>x</Code></Error>",
        SIMPLE.encode()[:-20],
        SIMPLE.encode() + b"<more/>",
        SIMPLE.encode().replace(b"Device", b"\xff\xfe", 1),
        SIMPLE.replace("<edmx:Edmx", LAUGHS + "<edmx:Edmx").encode(),
        SIMPLE.replace("<edmx:Edmx", LAUGHS.lower() + "<edmx:Edmx").encode(),
        SIMPLE.replace("<edmx:Edmx", LAUGHS + "<edmx:Edmx").encode("utf-16"),
        SIMPLE.replace("<edmx:Edmx", LAUGHS + "<edmx:Edmx").encode("utf-16-be"),
        SIMPLE.replace("utf-8", "utf-7").replace("<edmx:Edmx", "+ADw-!DOCTYPE x+AD4-<edmx:Edmx").encode(),
        SIMPLE.replace("utf-8", "zlib").encode(),
        SIMPLE.replace("utf-8", "nonsense").encode(),
        SIMPLE.replace("Device", "&xxe;").encode(),
        SIMPLE.replace("Device", "\x00").encode(),
        ("<a>" * 100_000).encode(),
        edmx(schema("<a>" * 200 + "</a>" * 200)).encode(),
        b"\xff\xfe\x00\xd8",
        b"\xff\xfe<",
    ],
)
def test_other_bodies_are_refused_with_a_hint(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="metadata document") as caught:
        parse_metadata(body)
    assert caught.value.hint
    assert "feed URL" in caught.value.hint


def test_refused_declaration_is_named() -> None:
    for more in (LAUGHS, "<!ENTITY x>"):
        with pytest.raises(ProtocolError, match="document type declaration"):
            parse_metadata(SIMPLE.replace("<edmx:Edmx", more + "<edmx:Edmx").encode())


def test_five_mebibytes_are_read_quickly() -> None:
    kinds = "".join(
        entity(f"T{n}", key("k") + "".join(prop(f"p{m}", "Edm.Int64") for m in range(100))) for n in range(1300)
    )
    body = edmx(schema(kinds + container(*[(f"s{n}", f"{NS}.T{n}") for n in range(1300)]))).encode()
    assert len(body) > 5 * 1024 * 1024
    begin = time.perf_counter()
    metadata = parse_metadata(body)
    assert time.perf_counter() - begin < 20
    assert len(names(metadata, "s1299")) == 100


def listing(*items: object) -> bytes:
    return json.dumps({"@odata.context": "x/$metadata", "value": items}).encode()


def test_service_document() -> None:
    body = listing(
        {"name": "devices", "kind": "EntitySet", "url": "devices"},
        {"name": "users", "url": "Users()"},
        {"name": "dates", "kind": None},
        {"name": "me", "kind": "Singleton", "url": "me"},
        {"name": "top", "kind": "FunctionImport", "url": "top"},
        {"name": "devices", "kind": "EntitySet", "url": "again"},
        {"name": "policies", "url": ""},
    )
    expected = [
        EntitySetInfo("devices", "devices"),
        EntitySetInfo("users", "Users()"),
        EntitySetInfo("dates", "dates"),
        EntitySetInfo("policies", "policies"),
    ]
    assert parse_service_document(body) == expected
    assert parse_service_document(b"\xef\xbb\xbf" + body) == expected
    assert parse_service_document(body.decode().encode("utf-16")) == expected


def test_empty_service_document_is_one() -> None:
    assert parse_service_document(listing()) == []


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        (b"", "empty"),
        (b"<html><title>Sign in</title></html>", "an HTML page"),
        (b"<!DOCTYPE html>\n<html>", "an HTML page"),
        (b"<service/>", "XML"),
        (b'{"value":[{"name":', "JSON"),
        (b"[1]", "without a list"),
        (b"5", "without a list"),
        (b'{"value":{}}', "without a list"),
        (b'{"error":{"code":"x"}}', "without a list"),
        (b'{"value":["devices"]}', "does not list"),
        (b'{"value":[{"url":"devices"}]}', "without a name"),
        (b'{"value":[{"name":" "}]}', "without a name"),
        (b'{"value":[{"deviceKey":1}]}', "without a name"),
        (b"[" * 100_000, "JSON"),
        (b"\xff\xff", ""),
        (b"9" * 5000, "neither"),
    ],
)
def test_other_documents_are_refused(body: bytes, seen: str) -> None:
    with pytest.raises(ProtocolError, match="not an OData service document") as caught:
        parse_service_document(body)
    assert seen in caught.value.message
    assert caught.value.hint
    assert "feed URL" in caught.value.hint


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for candidate in (body, SIMPLE.encode()[:300] + body, b"\xff\xfe" + body, b"<?xml encoding='" + body):
        for reader in (parse_metadata, parse_service_document):
            try:
                reader(candidate)
            except ProtocolError:
                continue


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("EntitySet"),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["value", "name", "url", "kind", "x"]), inner, max_size=4)
    ),
)


@given(JSON)
def test_any_json_is_read_or_refused(document: object) -> None:
    for candidate in (document, {"value": document}, {"value": [document]}):
        try:
            sets = parse_service_document(json.dumps(candidate).encode())
        except ProtocolError:
            continue
        assert all(item.name and item.url for item in sets)


TYPES = [
    '<EntityType Name="T" BaseType="A.T">',
    "</EntityType>",
    '<Property Name="p" Type="N.T"/>',
    '<Property Type="A.D"/>',
    '<TypeDefinition Name="D" UnderlyingType="A.D"/>',
    '<EnumType Name="E"/>',
]
FRAMES = ['<Schema Namespace="N" Alias="A">', "<Schema>", "</Schema>", "<Key>", "</Key>", "<PropertyRef/>"]
SETS = ["<EntityContainer>", "</EntityContainer>", '<EntitySet Name="s" EntityType="A.T"/>']
NOISE = ["<x:y/>", "text", "&amp;", "&lt", "<!-- -->", "<![CDATA[x]]>", "<?pi?>", "<!DOCTYPE x>"]
PARTS = st.sampled_from(TYPES + FRAMES + SETS + NOISE)


@given(st.lists(PARTS, max_size=14).map("".join))
def test_any_soup_of_elements_is_read_or_refused(content: str) -> None:
    for text in (edmx(content), edmx(f'<Schema Namespace="N">{content}</Schema>')):
        try:
            metadata = parse_metadata(text.encode())
        except ProtocolError:
            continue
        assert isinstance(metadata, Metadata)
