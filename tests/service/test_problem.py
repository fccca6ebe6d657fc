"""Error bodies in all the shapes that were seen, and in some that were not."""

from __future__ import annotations

import json
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intune_dw_cli.service.problem import MAX_MESSAGE, Problem, is_error_object, parse_problem

ZERO = "00000000-0000-0000-0000-000000000000"
GUID = "1f2e3d4c-5b6a-4788-9900-aabbccddeeff"
TAIL = (
    f" - Operation ID (for customer support): {ZERO} - Activity ID: {GUID}"
    " - Url: https://fef.x/y?z - CustomApiErrorPhrase: "
)
AN_ERROR = "An error has occurred"
SCOPES = ("DeviceManagementApps.Read.All", "DeviceManagementConfiguration.ReadWrite.All")
FORBIDDEN = (
    "Application is not authorized to perform this operation. Application must have one of the following "
    f"scopes: {', '.join(SCOPES)}"
)


def inner(message: str = AN_ERROR, **more: object) -> str:
    fields = {"_version": 3, "Message": message + TAIL, "CustomApiErrorPhrase": "", "RetryAfter": None}
    return json.dumps({**fields, "ErrorSourceService": "", "HttpHeaders": "{}", **more}, indent=2).replace("\n", "\r\n")


def read(document: object, content_type: str | None = "application/json") -> Problem:
    return parse_problem(json.dumps(document).encode(), content_type)


def test_shape_a_message_with_boilerplate() -> None:
    found = read({"Message": "An internal server error has occurred" + TAIL})
    assert found == Problem("An internal server error has occurred - Url: https://fef.x/y?z", None, GUID)


def test_shape_b_json_inside_message() -> None:
    assert read({"Message": inner()}) == Problem(f"{AN_ERROR} - Url: https://fef.x/y?z", None, GUID)
    assert parse_problem(inner().encode(), None).activity_id == GUID


def test_shape_c_error_code_beside_json() -> None:
    document = {"ErrorCode": "Forbidden", "Message": inner(FORBIDDEN), "Target": None, "InnerError": None}
    found = read(document)
    assert found.code == "Forbidden"
    assert found.scopes == SCOPES
    assert found.activity_id == GUID
    assert found.message.startswith("Application is not authorized")


@pytest.mark.parametrize("prefix", ["", "m:"])
def test_shape_c_as_xml(prefix: str) -> None:
    body = (
        f'<?xml version="1.0"?><{prefix}ODataError xmlns:m="x">'
        f"<{prefix}ErrorCode>UnsupportedApiVersion</{prefix}ErrorCode>"
        f'<{prefix}Message xml:lang="en">The &lt;version&gt; is not supported</{prefix}Message>'
        f"</{prefix}ODataError>"
    )
    found = parse_problem(body.encode(), "application/xml")
    assert found == Problem("The <version> is not supported", "UnsupportedApiVersion")


def test_xml_with_json_or_cdata_inside() -> None:
    message = f"<Message><![CDATA[{inner(FORBIDDEN)}]]></Message>"
    body = f"<ODataError><ErrorCode>Forbidden</ErrorCode>{message}</ODataError>"
    found = parse_problem(body.encode(), None)
    assert (found.code, found.scopes, found.activity_id) == ("Forbidden", SCOPES, GUID)


def test_shape_d_through_graph() -> None:
    ids = {"date": "2026-01-01", "request-id": "abc-1", "client-request-id": "def"}
    found = read({"error": {"code": "Forbidden", "message": inner(FORBIDDEN), "innerError": ids}})
    assert (found.code, found.scopes, found.activity_id) == ("Forbidden", SCOPES, GUID)
    plain = read({"error": {"code": "Forbidden", "message": "No", "innerError": ids}})
    assert plain == Problem("No", "Forbidden", "abc-1")


def test_json_inside_message_twice() -> None:
    document = {"error": {"code": "BadRequest", "message": json.dumps({"Message": inner(RetryAfter="17")})}}
    found = read(document)
    assert found == Problem(f"{AN_ERROR} - Url: https://fef.x/y?z", "BadRequest", GUID, "17")


def test_shape_e_standard_and_its_elder() -> None:
    assert read({"error": {"code": "400", "message": "Bad $filter"}}) == Problem("Bad $filter", "400")
    elder = {"odata.error": {"code": "x", "message": {"lang": "en", "value": "Old"}}}
    assert read(elder) == Problem("Old", "x")


def test_shape_f_gateway_page_and_nothing() -> None:
    head = b"<head><TITLE>502 Bad\n Gateway</TITLE><style>b{}</style></head>"
    page = b"<!DOCTYPE html><html>" + head + b"<body>x</body></html>"
    assert parse_problem(page, "text/html") == Problem("502 Bad Gateway")
    assert parse_problem(b"<h1>Service &amp; Unavailable</h1>", "text/html").message == "Service & Unavailable"
    assert parse_problem(b"<html><body>Sorry <b>now</b></body></html>", None).message == "Sorry now"
    for empty in (b"", b" \r\n", b"\xef\xbb\xbf", b"{}", b"[]", b'""'):
        assert parse_problem(empty, None) == Problem("")


def test_text_and_other_shapes() -> None:
    assert parse_problem(b"upstream\r\nconnect error", "text/plain").message == "upstream connect error"
    assert parse_problem(b"Fehler: gr\xf6\xdfer", "text/plain; charset=iso-8859-1").message == "Fehler: größer"
    assert parse_problem("zu groß".encode("utf-16"), None).message == "zu groß"
    assert parse_problem(b"x", "text/plain; charset=nonsense").message == "x"
    assert parse_problem(b'{"Message": "cut sh', None).message == '{"Message": "cut sh'
    assert read({"error": "invalid_grant", "error_description": "AADSTS70008: late"}) == Problem(
        "AADSTS70008: late", "invalid_grant"
    )
    assert read({"title": "Nope", "detail": "No such thing"}).message == "No such thing"
    assert read([{"code": 7, "message": "listed"}]) == Problem("listed", "7")
    assert read("just a string").message == "just a string"


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"RetryAfter": None}, None),
        ({"RetryAfter": 30}, "30"),
        ({"RetryAfter": "30"}, "30"),
        ({"RetryAfter": "Fri, 31 Dec 1999 23:59:59 GMT"}, "Fri, 31 Dec 1999 23:59:59 GMT"),
        ({"RetryAfter": True}, None),
        ({"RetryAfter": ""}, None),
        ({"HttpHeaders": '{"Retry-After":"12"}'}, "12"),
    ],
)
def test_retry_after(more: dict[str, object], expected: str | None) -> None:
    assert read({"Message": inner(**more)}).retry_after == expected
    assert read({"error": {"code": "x", "message": inner(**more)}}).retry_after == expected


def test_activity_id_of_zeros_is_none() -> None:
    assert read({"Message": f"Bad - Activity ID: {ZERO} - Url: x"}) == Problem("Bad - Url: x")


def test_operation_id_is_trimmed_also_when_it_means_something() -> None:
    assert read({"Message": f"Bad - Operation ID (for customer support): {GUID}"}).message == "Bad"


def test_filled_error_phrase_is_kept() -> None:
    assert read({"Message": "Late" + TAIL + "CancelOnTimeout"}).message.endswith(
        "CustomApiErrorPhrase: CancelOnTimeout"
    )


def test_scopes_at_the_end_of_a_sentence() -> None:
    assert read({"Message": "must have one of the following scopes: A.Read.All, B.Read.All. Ask."}).scopes == (
        "A.Read.All",
        "B.Read.All",
    )
    assert read({"Message": "must have one of the following scopes: - Operation"}).scopes == ()


def test_scopes_beyond_the_cut_are_found() -> None:
    found = read({"Message": "x" * 600 + " one of the following scopes: A.Read.All"})
    assert found.scopes == ("A.Read.All",)
    assert len(found.message) == MAX_MESSAGE


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[31mred\x1b[0m",
        "\x9b31mred",
        "\x1b]0;title\x07red",
        "\x1b]8;;http://evil\x1b\\red",
        "\x1bcred",
        "r\u202ee\u200bd\x00\x07",
        "\ud800red",
    ],
)
def test_terminal_escapes_are_removed(text: str) -> None:
    assert read({"error": {"code": text, "message": text}}) == Problem("red", "red")


@pytest.mark.parametrize(
    "document",
    [
        {"error": {"code": "x", "message": "y"}},
        {"error": {"code": "x"}, "value": []},
        {"value": [{}], "@odata.error": {"message": "mid-stream"}},
        {"odata.error": {"code": ""}},
        {"error": "invalid"},
        {"Message": "An error"},
        {"_version": 3, "Message": "{}"},
        {"ErrorCode": "Forbidden", "Target": None},
    ],
)
def test_error_object_is_recognised(document: dict[str, object]) -> None:
    assert is_error_object(document)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"value": []},
        {"value": [], "Message": "column"},
        {"value": [], "error": None},
        {"value": [], "error": "column"},
        {"@odata.context": "x", "message": "a property"},
        {"error": {}},
        {"Message": None},
    ],
)
def test_other_objects_are_not_errors(document: dict[str, object]) -> None:
    assert not is_error_object(document)


def check(found: Problem) -> None:
    texts = [found.message, found.code or "", found.activity_id or "", found.retry_after or "", *found.scopes]
    for text in texts:
        assert len(text) <= MAX_MESSAGE or text in found.scopes
        assert all(char == " " or unicodedata.category(char)[0] not in "CZ" or char.isprintable() for char in text)
        assert "\x1b" not in text


@given(st.binary(max_size=300), st.none() | st.text(max_size=30))
def test_any_bytes_give_a_problem(body: bytes, content_type: str | None) -> None:
    for prefix in (b"", b"{", b"<", b"<html>", b"\xff\xfe"):
        check(parse_problem(prefix + body, content_type))


NAMES = [
    "error",
    "Message",
    "message",
    "code",
    "ErrorCode",
    "RetryAfter",
    "innerError",
    "HttpHeaders",
    "value",
    "title",
]
TEXTS = st.text(max_size=20) | st.sampled_from([inner(), FORBIDDEN, TAIL, '{"Message":"x"}', '"\\"x\\""', "\x1b[", "["])
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda some: (
        st.lists(some, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES), some, max_size=5)
        | st.dictionaries(st.sampled_from(NAMES), some, max_size=3).map(json.dumps)
    ),
)


@given(DOCUMENTS)
def test_any_json_gives_a_problem(document: object) -> None:
    check(read(document))
    if isinstance(document, dict):
        assert is_error_object(document) in {True, False}


@pytest.mark.parametrize(
    "unit",
    [
        b"<",
        b"<a",
        b"<a ",
        b"<![CDATA[",
        b"<title",
        b"[",
        b'{"Message":',
        b"following scopes: a,",
        b" - Url:",
        b"\x1b]",
        b"a,",
    ],
)
def test_hostile_repetition_is_quick(unit: bytes) -> None:
    begin = time.perf_counter()
    for body in (unit * (1_000_000 // len(unit)), b"<" + unit * (1_000_000 // len(unit))):
        check(parse_problem(body, None))
        check(parse_problem(body, "text/html"))
        check(parse_problem(json.dumps({"Message": body.decode()}).encode(), None))
    assert time.perf_counter() - begin < 15
