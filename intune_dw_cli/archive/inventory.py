"""Writing what an archive holds: the manifest, what is made of it, the hashes, and a line in the log of runs."""

from __future__ import annotations

import datetime as dt
import hashlib
import json

from intune_dw_cli.archive.layout import MANIFEST, REPORT, VIEWS, Layout
from intune_dw_cli.archive.manifest import Manifest, encode_sums
from intune_dw_cli.archive.report import render_report
from intune_dw_cli.archive.views import render_views
from intune_dw_cli.export.files import disk_errors, open_append, write_atomic


def write_inventory(layout: Layout, manifest: Manifest) -> None:
    """Write manifest.json, views.sql, report.html and SHA256SUMS, in this order. Raises OutputError."""
    content = manifest.content()
    encoded = manifest.encode(content)
    digest = hashlib.sha256(encoded).hexdigest()
    views, report = render_views(content).encode(), render_report(content, digest).encode()
    write_atomic(layout.manifest, encoded, within=layout.state)
    write_atomic(layout.views, views, within=layout.state)
    write_atomic(layout.report, report, within=layout.state)
    derived = {VIEWS: views, REPORT: report}
    hashes = {MANIFEST: digest, **{path: hashlib.sha256(data).hexdigest() for path, data in derived.items()}}
    write_atomic(layout.sums, encode_sums(manifest.hashes() | hashes), within=layout.state)


def log_run(layout: Layout, manifest: Manifest, *, resumed: bool) -> None:
    """Append to the log of runs: the only place of an archive that has a clock. Raises OutputError."""
    entry = {
        "ended": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "tool": manifest.tool,
        "as_of": manifest.as_of,
        "state": manifest.state,
        "resumed": resumed,
        "rows": sum(h.rows for h in manifest.holdings),
    }
    with disk_errors(layout.runs), open_append(layout.runs) as log:
        log.write(json.dumps(entry).encode() + b"\n")
