from __future__ import annotations

import threading
from datetime import date, timedelta

import pytest
import requests

from intune_dw_cli.sandbox import Fault, Sandbox, ServerConfig, TenantConfig


@pytest.fixture
def client(serve):
    return serve(ServerConfig(page_size=30, faults=(Fault(kind="503", collection="devices"),)), days=3)


def control(client, method, path, **kwargs):
    return requests.request(method, f"{client.sandbox.origin}/_sandbox/{path}", timeout=5, **kwargs)


def test_faults_over_http(client):
    assert [fault["kind"] for fault in control(client, "GET", "faults").json()] == ["503"]
    assert client.get("devices").status_code == 503
    assert control(client, "POST", "faults", data="kind=429,collection=devices").json() == {"added": 1}
    body = [{"kind": "500", "collection": "users"}, {"kind": 404, "collection": "users", "retry-after": 3}]
    assert control(client, "POST", "faults", json=body).json() == {"added": 2}
    assert client.get("devices").status_code == 429
    assert [client.get("users").status_code for _ in range(2)] == [500, 404]
    control(client, "POST", "faults", json={"kind": "500", "times": 0})
    assert control(client, "DELETE", "faults").ok
    assert client.get("users").status_code == 200


@pytest.mark.parametrize("body", ["kind=nonsense", "{", "[1]", '{"page": 1}'])
def test_wrong_faults_over_http(client, body):
    answer = control(client, "POST", "faults", data=body)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_requests_over_http(client):
    client.get("ownerTypes")
    (recorded,) = control(client, "GET", "requests").json()
    assert recorded["target"].endswith("/ownerTypes?api-version=v1.0")
    assert recorded["status"] == 200
    assert "test-token" not in str(recorded)


def test_expected_over_http(client):
    expected = control(client, "GET", "expected").json()
    assert expected["today"] == "2018-02-21"
    client.sandbox.clear_faults()
    for name, entry in expected["collections"].items():
        assert len(client.rows(name)) == entry["rows"], name
    days = expected["collections"]["devicePropertyHistories"]["days"]
    rows = client.rows("devicePropertyHistories")
    assert days == {str(key): sum(row["dateKey"] == key for row in rows) for key in (20180219, 20180220, 20180221)}


def test_clock(client):
    assert control(client, "POST", "clock", json={"today": "2018-02-22"}).ok
    keys = {row["dateKey"] for row in client.rows("policyDeviceActivities")}
    assert keys == {20180220, 20180221, 20180222}
    assert control(client, "POST", "clock", data="2018-03-01").ok
    assert client.sandbox.tenant.config.today == date(2018, 3, 1)
    assert control(client, "POST", "clock", data="tomorrow").status_code == 400
    assert control(client, "POST", "clock", json={"date": 1}).status_code == 400


def test_unknown_control_path(client):
    assert control(client, "GET", "nothing").status_code == 404
    assert control(client, "POST", "expected").status_code == 404


def test_midnight_in_the_middle_of_a_chain(client):
    """The daily load adds a day at the end and takes one from the front; a chain goes on from where it was."""
    name, sandbox = "devicePropertyHistories", client.sandbox
    before = {(row["dateKey"], row["deviceKey"]) for row in sandbox.tenant.rows(name)}
    pages = client.pages(name)
    rows = next(pages)["value"]
    sandbox.set_today(sandbox.tenant.config.today + timedelta(days=1))
    rows += [row for page in pages for row in page["value"]]
    keys = [(row["dateKey"], row["deviceKey"]) for row in rows]
    assert len(set(keys)) == len(keys)
    assert {key for key, _ in keys} == {20180219, 20180220, 20180221, 20180222}
    assert {key for key in keys if key[0] in (20180220, 20180221)} == {key for key in before if key[0] != 20180219}


def test_dimensions_move_with_the_clock(client):
    sandbox = client.sandbox
    before = {row["deviceKey"]: row for row in sandbox.tenant.rows("devices")}
    sandbox.set_today(sandbox.tenant.config.today + timedelta(days=200))
    after = {row["deviceKey"]: row for row in sandbox.tenant.rows("devices")}
    assert max(after) > max(before)
    assert len(after) == len(before)
    stay = before.keys() & after.keys()
    assert all(after[key]["deviceId"] == before[key]["deviceId"] for key in stay)
    assert sum(after[key]["isDeleted"] for key in stay) >= sum(before[key]["isDeleted"] for key in stay)


def test_serve_forever_and_stop():
    sandbox = Sandbox(TenantConfig(devices=3, today=date(2024, 1, 15))).bind()
    thread = threading.Thread(target=sandbox.serve_forever)
    thread.start()
    answer = requests.get(sandbox.feed_url, headers={"Authorization": "Bearer x"}, timeout=5)
    assert answer.status_code == 200
    sandbox.stop()
    thread.join(timeout=5)
    assert not thread.is_alive()


def test_address_needs_a_started_sandbox():
    sandbox = Sandbox()
    with pytest.raises(RuntimeError, match="not started"):
        _ = sandbox.feed_url
    with sandbox, pytest.raises(RuntimeError, match="already"):
        sandbox.start()


def test_stop_before_and_without_serving():
    Sandbox().stop()
    Sandbox().bind().stop()
    sandbox = Sandbox().start()
    sandbox.stop()
    sandbox.stop()
