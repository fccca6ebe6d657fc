"""Whatever is wrong with what was given: one message that says what to do, the documented code, no file."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from answering import answering
from harness import Cli, free_port

FACT = "devicePropertyHistories"
HTML = b"<!DOCTYPE html><html><body>Sign in to the hotel's network</body></html>"


@dataclass(frozen=True)
class Bad:
    """A command that must fail.

    Attributes:
        code: The documented exit code.
        words: What the message or hint must say.
        env: Changes to the environment; None takes a name out.
    """

    command: str
    code: int
    words: tuple[str, ...]
    env: dict[str, str | None] = field(default_factory=dict)


CATALOGUE = {
    "unknown collection": Bad("pull devcies -o x.csv", 2, ("devcies", "devices")),
    "no collection": Bad("pull", 2, ("--all",)),
    "all and a name": Bad("pull devices --all", 2, ("--all",)),
    "bad date": Bad(f"pull {FACT} --from 2024-02-30 -o x.csv", 2, ("2024-02-30", "2024-01-15")),
    "no date at all": Bad(f"pull {FACT} --from soon -o x.csv", 2, ("soon", "2024-01-15")),
    "from after to": Bad(f"pull {FACT} --from 2024-02-01 --to 2024-01-01 -o x.csv", 2, ("2024-02-01", "after")),
    "days with from": Bad(f"pull {FACT} --days 7 --from 2024-01-01 -o x.csv", 2, ("--days", "--from")),
    "no days": Bad(f"pull {FACT} --days 0 -o x.csv", 2, ("--days",)),
    "days where there are none": Bad("pull devices --days 7 -o x.csv", 2, ("DateKey", FACT, "mamCheckins")),
    "from where there is none": Bad("pull ownerTypes --from 2024-01-01 -o x.csv", 2, ("DateKey", FACT)),
    "bad instant": Bad("pull devices --modified-since now -o x.csv", 2, ("--modified-since", "2024-01-15")),
    "modified since and days": Bad(f"pull {FACT} --modified-since 2024-01-01 --days 2", 2, ("--modified-since",)),
    "unknown format": Bad("pull devices -f xlsx", 2, ("xlsx", "parquet")),
    "unknown suffix": Bad("pull devices -o x.xlsx", 2, (".xlsx", ".parquet")),
    "format against suffix": Bad("pull devices -f csv -o x.parquet", 2, ("contradict",)),
    "unknown compression": Bad("pull devices --compression rar", 2, ("rar", "gzip")),
    "unknown parquet compression": Bad("pull devices -f parquet --compression rar", 2, ("rar",)),
    "excel in parquet": Bad("pull devices -f parquet --excel", 2, ("--excel",)),
    "several into one file": Bad("pull devices users -o x.csv", 2, ("x.csv", "-o FOLDER")),
    "several to stdout": Bad("pull devices users -o -", 2, ("stdout",)),
    "parquet to stdout": Bad("pull devices -f parquet -o -", 2, ("stdout", "CSV")),
    "partition into a file": Bad("pull devices --partition -o x.csv", 2, ("--partition",)),
    "json and stdout": Bad("pull devices -o - --json", 2, ("--json",)),
    "unknown property": Bad("pull devices --select nothing -o x.csv", 2, ("nothing", "intune-dw collections devices")),
    "no property": Bad("pull devices --select , -o x.csv", 2, ("--select",)),
    "top of nothing": Bad("pull devices --top 0 -o x.csv", 2, ("--top",)),
    "no workers": Bad("pull devices --workers 0 -o x.csv", 2, ("--workers",)),
    "unwritable output": Bad("pull devices -o /proc/nothing/x.csv", 1, ("/proc/nothing", "path")),
    "file in the way": Bad("pull devices -o occupied/x.csv", 1, ("occupied",)),
    "file in place of the folder": Bad("pull devices users -o occupied", 2, ("occupied", "folder")),
    "unwritable log": Bad("pull devices -o x.csv --log-file /proc/nothing/log", 1, ("/proc/nothing/log",)),
    "no URL": Bad("pull devices", 2, ("--url", "INTUNE_DW_URL"), {"INTUNE_DW_URL": None}),
    "no URL to back up": Bad("backup A", 2, ("--url", "INTUNE_DW_URL"), {"INTUNE_DW_URL": None}),
    "no token": Bad("pull devices -o x.csv", 4, ("INTUNE_DW_ACCESS_TOKEN",), {"INTUNE_DW_ACCESS_TOKEN": None}),
    "no token to back up": Bad("backup A", 4, ("INTUNE_DW_ACCESS_TOKEN",), {"INTUNE_DW_ACCESS_TOKEN": None}),
    "not https": Bad(
        "pull devices", 2, ("https",), {"INTUNE_DW_URL": "http://fef.msua01.manage.microsoft.com/DataWarehouseFEService"}
    ),
    "foreign host": Bad(
        "pull devices", 2, ("evil.example",), {"INTUNE_DW_URL": "https://evil.example/DataWarehouseFEService"}
    ),
    "look-alike host": Bad(
        "backup A", 2, ("microsoft.com.evil.example",),
        {"INTUNE_DW_URL": "https://fef.manage.microsoft.com.evil.example/DataWarehouseFEService"},
    ),
    "no URL but words": Bad("pull devices", 2, ("feed URL",), {"INTUNE_DW_URL": "my tenant"}),
    "sandbox and URL": Bad("pull devices --sandbox", 2, ("--sandbox", "--url")),
    "unknown cloud": Bad("pull devices --cloud mars", 2, ("mars", "usgov")),
    "no CA bundle": Bad("pull devices --ca-bundle nowhere.pem", 2, ("nowhere.pem",)),
    "unknown version": Bad("pull devices --api-version v9", 1, ("400", "api-version=v9")),
    "no archive to verify": Bad("verify nowhere", 1, ("nowhere", "intune-dw backup")),
    "archive in place of a file": Bad("backup occupied", 1, ("occupied", "folder")),
    "backup of nothing": Bad("backup A --exclude *", 2, ("--exclude",)),
}  # fmt: skip


def insist(cli: Cli, bad: Bad, env: dict[str, str | None] | None = None) -> None:
    (cli.cwd / "occupied").write_text("by a file")
    said = cli(*bad.command.split(), env={**bad.env, **(env or {})}).ok(bad.code)
    lines = said.err.splitlines()
    assert sum(line.startswith("error:") for line in lines) == 1, said.err
    assert len(lines) == 1 or lines[-1].lstrip().startswith("hint:"), said.err
    for word in bad.words:
        assert word in said.err, said.err
    assert said.out == "" if "--json" not in bad.command else said.json["state"] == "failed"
    assert [p.name for p in cli.cwd.iterdir()] == ["occupied"]
    assert (cli.cwd / "occupied").read_text() == "by a file"


@pytest.mark.parametrize("name", CATALOGUE)
def test_bad_input_gets_one_message_that_says_what_to_do(cli: Cli, name: str) -> None:
    insist(cli, CATALOGUE[name])


NO_WAREHOUSE = {
    "a page in place of JSON": (200, "text/html", HTML),
    "an empty answer": (200, "application/json", b""),
    "JSON that is no service": (200, "application/json", b'{"hello": "world"}'),
    "a list": (200, "application/json", b"[]"),
    "not found": (404, "text/html", HTML),
    "not found in JSON": (404, "application/json", b'{"error":{"code":"","message":"gone"}}'),
}


@pytest.mark.parametrize(
    ("answer", "command"),
    [(answer, "backup A") for answer in NO_WAREHOUSE]
    + [("a page in place of JSON", "pull devices -o x.csv"), ("not found", "collections")],
)
def test_what_is_no_warehouse_is_called_so(cli: Cli, answer: str, command: str) -> None:
    with answering(lambda _: NO_WAREHOUSE[answer]) as port:
        said = cli(*command.split(), env={"INTUNE_DW_URL": f"http://127.0.0.1:{port}/DataWarehouseFEService"}).ok(1)
    errors = [line for line in said.err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, said.err
    assert "hint:" in said.err
    assert list(cli.cwd.iterdir()) == []


@pytest.mark.parametrize("command", ["pull devices -o x.csv", "backup A"])
def test_a_refused_connection_is_one_message_at_the_end_of_a_few_attempts(cli: Cli, command: str) -> None:
    port = free_port()
    said = cli(*command.split(), env={"INTUNE_DW_URL": f"http://127.0.0.1:{port}/DataWarehouseFEService"}).ok(1)
    assert sum(line.startswith("error:") for line in said.err.splitlines()) == 1
    assert "refused" in said.err
    assert "hint:" in said.err
    assert list(cli.cwd.iterdir()) == []
