from __future__ import annotations

import json

import pytest

from intune_dw_cli.reference import reference
from intune_dw_cli.sandbox import ServerConfig
from intune_dw_cli.sandbox.timestamps import ticks


def keys(rows):
    return sorted({row["dateKey"] for row in rows})


def test_maxhistorydays_gives_one_key_more(shared):
    rows = shared.rows("devicePropertyHistories", "maxhistorydays=7")
    assert keys(rows) == list(range(20180214, 20180222))
    assert keys(shared.rows("dates", "MaxHistoryDays=7")) == list(range(20180214, 20180222))


def test_maxhistorydays_is_ignored_with_a_datekey_filter_and_without_a_datekey(shared):
    rows = shared.rows("policyDeviceActivities", "maxHistoryDays=1&$filter=DateKey%20lt%2020180126")
    assert keys(rows) == [20180123, 20180124, 20180125]
    assert len(shared.rows("devices", "maxhistorydays=1")) == 40


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("DateKey eq 20180214", [20180214]),
        ("dateKey ge 20180220", [20180220, 20180221]),
        ("DateKey gt 20180220", [20180221]),
        ("DateKey le 20180124", [20180123, 20180124]),
        ("DateKey lt 20180124", [20180123]),
        ("DateKey ge 20180131 and DateKey lt 20180202", [20180131, 20180201]),
        ("DateKey ge 20180131 and DateKey lt 20180299", [20180131, *range(20180201, 20180222)]),
        ("DateKey eq 20990101", []),
    ],
)
def test_datekey_filter(shared, expression, expected):
    assert keys(shared.rows("policyDeviceActivities", f"$filter={expression.replace(' ', '%20')}")) == expected


def test_datekey_filter_is_kept_over_pages(serve):
    client = serve(ServerConfig(page_size=7))
    rows = client.rows("devicePropertyHistories", "$filter=DateKey%20eq%2020180214&$select=dateKey,deviceKey")
    expected = client.sandbox.tenant.rows("devicePropertyHistories", day=20180214)
    assert rows == [{"dateKey": row["dateKey"], "deviceKey": row["deviceKey"]} for row in expected]


@pytest.mark.parametrize("name", ["devices", "users", "policies", "mamApplicationInstances"])
def test_time_filter(serve, name):
    client = serve(ServerConfig(page_size=5))
    column = reference()[name.casefold()].row_last_modified
    everything = list(client.sandbox.tenant.rows(name))
    middle = sorted(everything, key=lambda row: ticks(row[column]))[len(everything) // 2][column]
    at_least = client.rows(name, f"$filter=RowLastModifiedDateTimeUTC%20ge%20{middle}")
    assert at_least == [row for row in everything if ticks(row[column]) >= ticks(middle)]
    between = client.rows(name, f"$filter={column}%20ge%20{middle}%20and%20{column}%20le%20{middle}")
    assert between == [row for row in everything if ticks(row[column]) == ticks(middle)]


def test_time_filter_takes_an_offset_only_when_encoded(shared):
    assert shared.get("users", "$filter=RowLastModifiedDateTimeUTC%20lt%202018-01-01T02:00:00%2B02:00").ok
    assert shared.get("users", "$filter=RowLastModifiedDateTimeUTC%20lt%202018-01-01T02:00:00+02:00").status_code == 400


def test_time_filter_compares_instants_not_text():
    assert ticks("2018-02-21T23:18:51Z") < ticks("2018-02-21T23:18:51.3277273Z")
    assert ticks("2018-02-22T01:18:51.5+02:00") == ticks("2018-02-21T23:18:51.5Z")
    assert ticks("0001-01-01T00:00:00+14:00") < ticks("0001-01-01T00:00:00Z")
    assert ticks("2018-02-30T00:00:00Z") is None
    assert ticks("2018-02-21T00:00:00") is None


def test_select_keeps_served_order(shared):
    page = shared.get("ownerTypes", "$select=ownerTypeName,ownerTypeKey").json()
    assert page["@odata.context"].endswith("#ownerTypes(ownerTypeKey,ownerTypeName)")
    assert all(list(row) == ["ownerTypeKey", "ownerTypeName"] for row in page["value"])


@pytest.mark.parametrize(("skip", "top"), [(0, 0), (0, 10), (5, 1200), (39 * 60, 100), (10**9, 1)])
def test_skip_and_top(shared, skip, top):
    everything = list(shared.sandbox.tenant.rows("devicePropertyHistories"))
    assert shared.rows("devicePropertyHistories", f"$skip={skip}&$top={top}") == everything[skip : skip + top]


@pytest.mark.parametrize(
    "options",
    [
        "$orderby=deviceKey",
        "$count=true",
        "$expand=x",
        "$search=x",
        "$apply=x",
        "$Filter=DateKey%20eq%2020180214",
        "$filter=deviceId%20eq%201",
        "$filter=DateKey%20ne%2020180214",
        "$filter=DateKey%20eq%2020180214%20or%20DateKey%20eq%2020180215",
        "$filter=not%20DateKey%20eq%2020180214",
        "$filter=(DateKey%20eq%2020180214)",
        "$filter=DateKey%20eq%20'20180214'",
        "$filter=DATEKEY%20eq%2020180214",
        "$filter=RowLastModifiedDateTimeUTC%20ge%202018-02-21T00:00:00Z",
        "$filter=",
        "$select=nope",
        "$select=DateKey",
        "$top=-1",
        "$skip=x",
        "maxhistorydays=-1",
        "maxhistorydays=week",
        "$top=1&$top=2",
        "$skiptoken=AAAA",
    ],
)
def test_unsupported_options_are_bad_requests(shared, options):
    response = shared.get("devicePropertyHistories", options)
    assert response.status_code == 400
    body = response.json()
    assert body["_version"] == 3
    assert body["Message"].startswith("An error has occurred - Operation ID (for customer support): ")
    assert " - Activity ID: " in body["Message"]
    assert f" - Url: {response.url}" in body["Message"]


@pytest.mark.parametrize("name", ["devices", "ownerTypes", "users"])
def test_datekey_filter_needs_datekey_in_the_key(shared, name):
    assert shared.get(name, "$filter=DateKey%20eq%2020180214").status_code == 400


@pytest.mark.parametrize(
    ("case", "good", "bad"), [("documented", "DateKey", "dateKey"), ("metadata", "dateKey", "DateKey")]
)
def test_strict_filter_case(serve, case, good, bad):
    client = serve(ServerConfig(strict_filter_case=case))
    assert client.get("dates", f"$filter={good}%20eq%2020180214").status_code == 200
    assert client.get("dates", f"$filter={bad}%20eq%2020180214").status_code == 400


@pytest.mark.parametrize(
    "options", ["%24select=dateKey", "$select=dateKey%2CfullDate", "$filter=DateKey+eq+20180214", "%24top=1"]
)
def test_strict_encoding(serve, shared, options):
    assert shared.get("dates", options).status_code == 200
    assert serve(ServerConfig(strict_encoding=True)).get("dates", options).status_code == 400


def test_strict_encoding_takes_the_careful_form(serve):
    client = serve(ServerConfig(strict_encoding=True))
    assert len(client.rows("dates", "$select=dateKey,fullDate&$filter=DateKey%20eq%2020180214")) == 1


@pytest.mark.parametrize("query", ["", "?api-version=v2.0", "?api-version=", "?$top=1"])
def test_api_version_is_mandatory(shared, query):
    for path in ("", "/devices", "/$metadata"):
        response = shared.session.get(f"{shared.root}{path}{query}", timeout=10)
        assert response.status_code == 400
        assert response.json()["ErrorCode"] == "UnsupportedApiVersion"
        assert json.loads(response.json()["Message"])["_version"] == 3


@pytest.mark.parametrize("name", ["applicationInventories", "currentUsers", "Devices", "mamEffectivePolicies", "a/b"])
def test_unknown_collections(shared, name):
    assert shared.get(name).status_code == 404


def test_wrong_root(shared):
    response = shared.session.get(f"{shared.sandbox.origin}/ReportingService/Other?api-version=v1.0", timeout=10)
    assert response.status_code == 404


def test_get_only(shared):
    assert shared.session.post(shared.url("devices"), timeout=10).status_code == 405


@pytest.mark.parametrize("value", [None, "", "Bearer", "Bearer ", "Basic dDp0"])
def test_no_token(shared, value):
    response = shared.get("devices", headers={"Authorization": value})
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_one_token(serve):
    client = serve(ServerConfig(token="right"))
    assert client.get("devices").status_code == 401
    assert client.get("devices", headers={"Authorization": "Bearer right"}).status_code == 200
