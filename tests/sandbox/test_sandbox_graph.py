from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Callable

import pytest
import requests

from intune_dw_cli.sandbox import Fault, GraphConfig, ServerConfig
from intune_dw_cli.sandbox.config import GRAPH_PERMISSIONS
from intune_dw_cli.service.access import GRAPH_PROBES

JOBS = "/v1.0/deviceManagement/reports/exportJobs"


class GraphClient:
    """A plain reader of the sandbox's Graph."""

    def __init__(self, sandbox: object) -> None:
        self.base = sandbox.graph_url
        self.sandbox = sandbox

    def get(self, path: str, token: str | None = "any") -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = path if path.startswith("http") else self.base + path
        return requests.get(url, headers=headers, timeout=10, allow_redirects=False)

    def post(self, body: object) -> requests.Response:
        return requests.post(self.base + JOBS, json=body, headers={"Authorization": "Bearer any"}, timeout=10)

    def finished(self, report: str, **body: object) -> dict:
        job = self.post({"reportName": report, **body}).json()
        while job["status"] != "completed":
            job = self.get(f"{JOBS}('{job['id']}')").json()
        return job


@pytest.fixture
def graph(serve) -> Callable[..., GraphClient]:
    return lambda hostile=False, **config: GraphClient(
        serve(ServerConfig(graph=GraphConfig(**config)), hostile=hostile).sandbox
    )


def test_a_token_must_be_there_and_be_the_right_one(graph):
    client = graph(token="right")
    path = "/v1.0/deviceManagement/termsAndConditions"
    assert [client.get(path, token).status_code for token in (None, "wrong", "right")] == [401, 401, 200]
    picky = graph(accept_token=lambda token: token.startswith("g"))
    assert [picky.get(path, token).status_code for token in ("w", "g")] == [401, 200]


def test_without_permission_403_names_the_scopes(graph):
    body = graph(permissions=GRAPH_PERMISSIONS[1:]).get("/v1.0/deviceManagement/termsAndConditions").json()
    assert body["error"]["code"] == "Forbidden"
    assert "must have one of the following scopes: DeviceManagementServiceConfig.Read.All" in body["error"]["message"]


def test_a_write_permission_reads_too(graph):
    client = graph(permissions=("DeviceManagementServiceConfig.ReadWrite.All",))
    assert client.get("/v1.0/deviceManagement/termsAndConditions").status_code == 200


def test_collections_page_and_select(graph):
    client = graph(page_size=2)
    path = "/beta/deviceManagement/deviceConfigurations?$select=id,displayName"
    rows, url = [], path
    while url:
        page = client.get(url).json()
        rows += page["value"]
        url = page.get("@odata.nextLink")
    assert len(rows) == sum(not r["isDeleted"] for r in client.sandbox.tenant.rows("policies"))
    assert {tuple(row) for row in rows} == {("id", "displayName")}
    assert len(client.get(f"{path}&$top=1").json()["value"]) == 1


def test_report_functions_answer_an_object_and_content_the_bytes(graph):
    client = graph()
    report = client.get("/v1.0/reports/deviceConfigurationDeviceActivity").json()["value"]
    assert report["@odata.type"] == "microsoft.graph.report"
    content = client.get("/beta/reports/deviceConfigurationDeviceActivity/content").content
    assert base64.b64decode(report["content"]) == content
    assert content.splitlines()[0].decode("utf-8-sig") == "dateKey,pending,succeeded,error,failed"


def test_unknown_paths_are_404(graph):
    client = graph(gone=("beta/reports/*",))
    for path in ("/v1.0/x", "/v1.0/reports/x", "/beta/reports/managedDeviceEnrollmentFailureTrends()/content"):
        assert client.get(path).status_code == 404


def test_an_export_job_goes_its_way(graph):
    client = graph(job_polls=1)
    answer = client.post({"reportName": "EnrollmentActivity", "format": "csv", "select": ["UPN", "OS"]})
    job = answer.json()
    assert (answer.status_code, job["status"], job["url"]) == (201, "notStarted", None)
    assert job["expirationDateTime"] == "0001-01-01T00:00:00Z"
    assert job["id"].startswith("EnrollmentActivity_")
    states = [client.get(f"{JOBS}('{job['id']}')").json() for _ in range(2)]
    assert [s["status"] for s in states] == ["inProgress", "completed"]
    url = states[1]["url"]
    assert client.get(url).status_code == 400  # with a bearer
    assert client.get(url.replace("sig=", "sig=0"), token=None).status_code == 403
    with zipfile.ZipFile(io.BytesIO(client.get(url, token=None).content)) as file:
        assert file.read(file.namelist()[0]).decode("utf-8-sig").splitlines()[0] == "UPN,OS"


def test_jobs_cannot_be_listed(graph):
    answer = graph().get(JOBS)
    assert answer.status_code == 400
    assert "No method match route template" in answer.text


@pytest.mark.parametrize(
    "body", [[], {"reportName": "EnrollmentActivity", "select": ["Nonsense"]}, {"format": "csv"}, "x"]
)
def test_bad_jobs_are_refused(graph, body):
    assert graph().post(body).status_code == 400


def test_platform_has_a_localized_twin(graph):
    client = graph()
    url = client.finished("MAMAppProtectionStatus")["url"]
    with zipfile.ZipFile(io.BytesIO(client.get(url, token=None).content)) as file:
        assert file.read(file.namelist()[0]).splitlines()[0].endswith(b",Platform_loc")


def test_the_first_jobs_of_a_report_hang_or_fail(graph):
    client = graph(hanging_jobs=1, failing_jobs=1, job_polls=0)
    states = []
    for _ in range(3):
        job = client.post({"reportName": "DeviceEnrollmentFailures"}).json()
        states.append(client.get(f"{JOBS}('{job['id']}')").json()["status"])
    assert states == ["inProgress", "failed", "completed"]


def test_faults_reach_graph_by_path(graph):
    client = graph()
    client.sandbox.add_fault(Fault(kind="429", collection="graph/deviceManagement/*"))
    path = "/v1.0/deviceManagement/termsAndConditions"
    assert [client.get(path).status_code for _ in range(2)] == [429, 200]


def test_a_hostile_tenant_has_charts_too(graph):
    client = graph(hostile=True)
    for report in ("MAMAppProtectionStatus", "ConfigurationPolicyAggregateV3", "EnrollmentActivity"):
        assert client.get(client.finished(report)["url"], token=None).content.startswith(b"PK")
    assert client.get("/v1.0/deviceManagement/termsAndConditions").status_code == 200


@pytest.mark.parametrize("missing", [*GRAPH_PERMISSIONS, None])
def test_the_probes_of_the_sign_in_check_find_what_is_missing(graph, missing):
    client = graph(permissions=tuple(p for p in GRAPH_PERMISSIONS if p != missing))
    found = {permission: client.get(path).status_code for _, permission, path in GRAPH_PROBES}
    assert found == {p: 403 if p == missing else 200 for p in GRAPH_PERMISSIONS}
