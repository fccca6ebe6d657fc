from __future__ import annotations

import gzip
import re
import socket
import xml.etree.ElementTree as ET
from urllib.parse import urlsplit

import pytest
import requests

from intune_dw_cli.reference import reference
from intune_dw_cli.sandbox import ServerConfig

EDM = "{http://docs.oasis-open.org/odata/ns/edm}"


def test_service_document_lists_all_sets(shared):
    document = shared.session.get(shared.sandbox.feed_url, timeout=10).json()
    assert document["@odata.context"] == f"{shared.root}/$metadata"
    assert [entry["name"] for entry in document["value"]] == list(shared.sandbox.tenant.collections())
    assert document["value"][0] == {"name": "appRevisions", "kind": "EntitySet", "url": "appRevisions"}


@pytest.mark.parametrize("name", [c.name for c in reference().values() if c.v1_listed])
def test_served_rows_are_the_tenants_rows(shared, name):
    assert shared.rows(name) == list(shared.sandbox.tenant.rows(name))


def test_pages_are_full_and_only_the_last_has_no_link(shared):
    pages = list(shared.pages("devicePropertyHistories"))
    assert [len(page["value"]) for page in pages[:-1]] == [500] * (len(pages) - 1)
    assert ["@odata.nextLink" in page for page in pages] == [True] * (len(pages) - 1) + [False]
    assert pages[0]["@odata.context"] == f"{shared.root}/$metadata#devicePropertyHistories"


@pytest.mark.parametrize("size", [1, 3, 7, 40, 1024])
def test_any_page_size_gives_the_same_rows(serve, size):
    client = serve(ServerConfig(page_size=size), days=2)
    for name in ("devicePropertyHistories", "devices", "userDeviceAssociations", "mobileAppInstallStatusCounts"):
        assert client.rows(name) == list(client.sandbox.tenant.rows(name))


@pytest.mark.parametrize("form", ["absolute", "relative", "lower-hex"])
def test_forms_of_next_link(serve, form):
    client = serve(ServerConfig(page_size=30, next_link=form), days=3)
    link = client.get("devicePropertyHistories").json()["@odata.nextLink"]
    assert link.startswith("devicePropertyHistories?" if form == "relative" else f"{client.root}/devicePropertyHis")
    assert ("%3d%27" in link) == (form == "lower-hex")
    assert "api-version=v1.0&$skiptoken=" in link
    assert client.rows("devicePropertyHistories") == list(client.sandbox.tenant.rows("devicePropertyHistories"))


def test_short_root_and_beta_work(shared):
    root = shared.root.replace("/TrafficGateway/TrafficRoutingService", "")
    response = shared.session.get(f"{root}/ownerTypes?api-version=beta", timeout=10)
    assert response.json()["@odata.context"] == f"{root}/$metadata#ownerTypes"


def test_json_is_compact_and_gzip_is_sent_only_to_those_who_take_it(shared):
    plain = shared.get("devices", headers={"Accept-Encoding": "identity"})
    packed = shared.get("devices", headers={"Accept-Encoding": "gzip"}, stream=True)
    assert "Content-Encoding" not in plain.headers
    assert gzip.decompress(packed.raw.read()) == plain.content
    assert packed.headers["Content-Encoding"] == "gzip"
    assert plain.text.startswith('{"@odata.context":"http')
    assert '","value":[{"deviceKey":' in plain.text


def test_headers(shared):
    response = shared.get("ownerTypes", headers={"client-request-id": "abc-1"})
    assert response.headers["client-request-id"] == "abc-1"
    assert re.fullmatch(r"[0-9a-f-]{36}", response.headers["request-id"])
    assert response.headers["OData-Version"] == "4.0"
    assert response.headers["Content-Type"] == "application/json;odata.metadata=minimal"


def test_keep_alive_serves_many_requests_on_one_connection(shared):
    host = urlsplit(shared.root)
    request = f"GET {host.path}/ownerTypes?api-version=v1.0 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\n\r\n"
    with socket.create_connection((host.hostname, host.port), timeout=5) as connection:
        stream = connection.makefile("rb")
        for _ in range(3):
            connection.sendall(request.encode())
            assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
            length = 0
            while (line := stream.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            stream.read(length)


def test_metadata_declares_the_model(shared):
    schema = ET.fromstring(shared.get("$metadata").content)[0][0]
    namespace = schema.get("Namespace")
    types = {entity.get("Name"): entity for entity in schema.iter(f"{EDM}EntityType")}
    sets = {one.get("Name"): one.get("EntityType") for one in schema.iter(f"{EDM}EntitySet")}
    assert "." in namespace
    assert list(sets) == list(shared.sandbox.tenant.collections())
    for name, type_name in sets.items():
        model = shared.sandbox.tenant.model(name)
        assert type_name == f"{namespace}.{model.entity_type}"
        entity = types[model.entity_type]
        assert tuple(ref.get("Name") for ref in entity.iter(f"{EDM}PropertyRef")) == model.key
        assert [
            (p.get("Name"), p.get("Type"), p.get("Nullable") != "false") for p in entity.iter(f"{EDM}Property")
        ] == [(prop.name, prop.type, prop.nullable) for prop in model.properties]


def test_metadata_can_be_missing_broken_or_odd(serve):
    assert serve(ServerConfig(metadata="missing")).get("$metadata").status_code == 404
    with pytest.raises(ET.ParseError):
        ET.fromstring(serve(ServerConfig(metadata="broken")).get("$metadata").content)
    odd = ET.fromstring(serve(ServerConfig(metadata="odd-namespace")).get("$metadata").content)
    types, container = odd[0]
    assert container.find(f".//{EDM}EntitySet[@Name='devices']").get("EntityType") == "odd.device"
    device = types.find(f"{EDM}EntityType[@Name='device']")
    base = types.find(f"{EDM}EntityType[@Name='deviceBase']")
    assert device.get("BaseType") == "odd.deviceBase"
    assert [p.get("Name") for entity in (base, device) for p in entity.iter(f"{EDM}Property")] == [
        prop.name for prop in reference()["devices"].properties
    ]


def test_int64_as_string_and_full_annotations(serve):
    client = serve(ServerConfig(int64_as_string=True, full_annotations=True))
    row = client.get("devices").json()["value"][0]
    assert row["@odata.type"].endswith(".device")
    assert row["@odata.id"] == f"devices(deviceKey={row['deviceKey']})"
    assert row["deviceKey@odata.type"] == "#Int64"
    assert isinstance(row["deviceKey"], str)
    assert isinstance(row["deviceTypeKey"], int)


def test_requests_are_recorded_without_the_token(serve):
    client = serve()
    client.get("ownerTypes", "$select=ownerTypeKey,ownerTypeName", headers={"client-request-id": "one"})
    (recorded,) = client.sandbox.requests
    assert recorded.target.endswith("/ownerTypes?api-version=v1.0&$select=ownerTypeKey,ownerTypeName")
    assert (recorded.method, recorded.status, recorded.authorized) == ("GET", 200, True)
    assert recorded.headers["client-request-id"] == "one"
    assert "test-token" not in repr(recorded)


def test_think_time(serve):
    client = serve(ServerConfig(think_time=0.2))
    assert client.get("ownerTypes").elapsed.total_seconds() >= 0.2


def test_stop_cuts_idle_connections(serve):
    client = serve()
    client.get("ownerTypes")
    client.sandbox.stop()
    with pytest.raises(requests.ConnectionError):
        client.get("ownerTypes")
