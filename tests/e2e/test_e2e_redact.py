"""`--redact` through the installed command: what is in the files, where the key comes from, what is refused."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from harness import Cli, SandboxProcess, first_pages, manifest, read_csv, tree

from intune_dw_cli.data.redact import Redaction
from intune_dw_cli.identity.secret import Secret

FACT = "devicePropertyHistories"
KEY = "c0ffee00c0ffee00c0ffee00c0ffee00"
BY_ENV: dict[str, str | None] = {"INTUNE_DW_REDACT_KEY": KEY}
HASH = Redaction("hash", Secret(KEY))


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "redact.key"
    path.write_text(KEY + "\n", encoding="utf-8")
    return path


def test_pull_writes_pseudonyms_under_which_two_collections_join(
    cli: Cli, sandbox: SandboxProcess, key_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    said = cli("pull", "devices", "users", "--redact", "hash", "--redact-key-file", key_file, "-o", f"{out}/").ok()
    assert KEY not in said.out + said.err
    users = {row["userId"]: row for row in sandbox.rows("users")}
    header, *rows = read_csv((out / "users.csv").read_bytes())
    at = header.index("userId")
    assert [row[at] for row in rows] == [HASH.pseudonym(user_id) for user_id in users]
    plain = [row for row in sandbox.rows("devices") if row["userId"] in users]
    joined = duckdb.execute(
        f"select count(*) from '{out}/devices.csv' join '{out}/users.csv' using (userId)"
    ).fetchall()
    assert joined == [(len(plain),)]
    assert plain


def test_the_key_may_be_in_the_environment_and_gives_the_same_bytes(cli: Cli, key_file: Path) -> None:
    by_file = cli("pull", "users", "--redact", "hash", "--redact-key-file", key_file, "-o", "-").ok()
    by_env = cli("pull", "users", "-o", "-", env={**BY_ENV, "INTUNE_DW_REDACT": "hash"}).ok()
    assert by_file.stdout == by_env.stdout
    assert len(by_file.stdout) > 1000


def test_drop_leaves_the_columns_out_and_needs_no_key(cli: Cli) -> None:
    header, *rows = read_csv(cli("pull", "users", "--redact", "drop", "-o", "-").ok().out)
    assert header == ["userKey", "intuneLicensed", "isDeleted", "rowLastModifiedDateTimeUTC"]
    assert rows


def test_without_a_key_nothing_is_fetched_and_the_message_says_how_to_make_one(
    cli: Cli, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    before = sandbox.mark()
    for command in (("pull", "users", "-o", "out/"), ("backup", "archive")):
        said = cli(*command, "--redact", "hash").ok(2)
        assert "needs a key" in said.err
        assert "openssl rand -hex 32 > redact.key" in " ".join(said.err.split())
        assert "INTUNE_DW_REDACT_KEY" in said.err
    assert not sandbox.requests(before)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "archive").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--redact", "blur"), "blur is not known"),
        (("--redact", "hash", "--redact-key-file", "nowhere.key"), "nowhere.key cannot be read"),
        (("--select", "userEmail", "--redact", "drop"), "leaves no column"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(cli: Cli, options: tuple[str, ...], said: str) -> None:
    ended = cli("pull", "users", "-o", "-", *options).ok(2)
    assert said in " ".join(ended.err.split())
    assert ended.stdout == b""


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_days_of_a_partitioned_folder_are_all_redacted_alike_or_nothing_is_fetched(
    form: str, cli: Cli, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    pull = ("pull", FACT, "--partition", "-f", form, "-o", "parts")
    hashed: dict[str, str | None] = {**BY_ENV, "INTUNE_DW_REDACT": "hash"}
    others: tuple[dict[str, str | None], ...] = (
        {},
        {"INTUNE_DW_REDACT": "drop"},
        {"INTUNE_DW_REDACT": "hash", "INTUNE_DW_REDACT_KEY": KEY[::-1]},
    )
    cli(*pull, "--from", "yesterday", "--to", "yesterday", env=hashed).ok()
    before, mark = tree(tmp_path / "parts"), sandbox.mark()
    for other in others:
        said = cli(*pull, "--days", 1, env=other).ok(2)
        assert f"the days in parts/{FACT} are pseudonymised with" in said.err
        assert "Give another folder" in said.err
    assert tree(tmp_path / "parts") == before
    assert not first_pages(sandbox.requests(mark))
    cli(*pull, "--days", 1, env=hashed).ok()
    assert len(list((tmp_path / "parts" / FACT).glob("dateKey=*/part.*"))) == 2
    # Collections without days are whole files, and replaced. A folder with nothing but what a kill left is new.
    cli("pull", "devices", "--partition", "-f", form, "-o", "parts").ok()
    for part in (tmp_path / "parts" / FACT).rglob("part.*"):
        part.rename(f"{part}.partial")
    cli(*pull, "--days", 1).ok()
    assert "are as served" in cli(*pull, "--days", 1, env=hashed).ok(2).err


def test_a_redacted_archive_is_verified_compared_and_told_apart(cli: Cli, key_file: Path, tmp_path: Path) -> None:
    root = tmp_path / "archive"
    choice = ("--only", "users", "--only", "devices", "--only", "policyDeviceActivities")
    hashed = ("--redact", "hash", "--redact-key-file", key_file)
    said = cli("backup", root, *choice, *hashed, "--json").ok()
    assert said.json["redaction"] == manifest(root)["redaction"] == HASH.label
    assert "trend charts are not saved" in said.err
    cli("verify", root).ok()
    assert HASH.label.partition(":")[2] in cli("status", root).ok().out
    assert "another kind" in cli("backup", root, *choice).ok(1).err
    assert "another kind" in cli("backup", root, *choice, "--redact", "drop").ok(1).err
    cli("verify", root, "--against-service", "--all", env=BY_ENV).ok()
    assert "its key is needed" in cli("verify", root, "--against-service").ok(2).err
    assert cli("backup", root, *choice, *hashed).ok().err.count("complete: 3 collections") == 1
