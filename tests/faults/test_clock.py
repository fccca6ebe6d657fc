"""Days: at midnight, on leap days, at the turn of the year, in every time zone, and keys that are no days at all."""

from __future__ import annotations

import re
from pathlib import Path

from harness import Cli, manifest
from named_service import serving

NO_DAYS = [None, 0, -5, 19000101, 20240230, 20241301, 99991231, 99999999, 2**31 - 1]


def test_a_datekey_that_is_no_day_is_kept_and_no_gap(home: Path, tmp_path: Path) -> None:
    days = [20240113, 20240115]
    rows = [{"Id": number, "dateKey": key, "whose": "x"} for number, key in enumerate([*days, *NO_DAYS])]
    with serving({"things": rows}) as service:
        cli = Cli(home, tmp_path, service.url)
        for _ in range(2):
            cli("backup", "A", "-f", "csv", "--no-charts").ok()
            cli("verify", "A").ok()
    (held,) = manifest(tmp_path / "A")["collections"]
    assert held["rows"] == len(rows)
    assert held["days"] == {"first": 20240113, "last": 20240115, "count": 2}
    assert held["gaps"]["missing"] == [20240114]
    said = cli("status", "A").out
    assert "every fact is held up to 20240115" in said
    report = (tmp_path / "A" / "report.html").read_text("utf-8")
    assert len(report) < 100_000
    assert not re.search(r"\b(?:1900|1899|9999)-", report)
