"""What follows the collections: trend charts, changes of the service's model, proof and signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from intune_dw_cli.archive.report.facts import Archive
from intune_dw_cli.archive.report.figures import and_more, byte_size, counted
from intune_dw_cli.archive.report.html import MOST_ROWS, Html, badge, code, el, escape, small, table, word


def charts(archive: Archive) -> Html:
    """Return the trend charts with their files."""
    if not archive.charts:
        why = "No trend charts were asked for. The move resets them: without --no-charts they are saved too."
        if archive.is_redacted:
            why = "Trend charts hold names of people as served, so a redacted archive has none. The move resets them."
        return el("section", el("h2", "Trend charts"), el("p", why))
    rows = [
        (
            word(str(c.get("group") or "")),
            Html(word(str(c.get("title") or c.get("item"))) + (small("optional") if c.get("optional") else "")),
            badge(str(c.get("state"))),
            _chart_files(c.get("files") or ()),
        )
        for c in archive.charts
    ]
    return el(
        "section",
        el("h2", "Trend charts"),
        table(
            ("Group", "Chart", "State", "Files (size, first digits of SHA-256)"), rows, "Trend charts", class_="files"
        ),
    )


def _chart_files(files: Sequence[Mapping[str, Any]]) -> Html:
    if not files:
        return escape("none")
    shown = [
        el(
            "li",
            code(f.get("path")),
            " ",
            el("small", f"{byte_size(int(f.get('bytes') or 0))}, {str(f.get('sha256'))[:12]}"),
        )
        for f in files[:MOST_ROWS]
    ]
    more = [el("li", and_more(len(files) - MOST_ROWS))] if len(files) > MOST_ROWS else []
    return el("ul", *shown, *more, class_="plain")


def drift(archive: Archive) -> Html:
    """Return how the service's model differs from the documented one and from that of the last run."""
    heading = el("h2", "Changes of the service's model")
    if archive.drift is None:
        return el("section", heading, el("p", "Not compared."))
    lists = [
        _drift_list("Against the documentation", archive.drift.get("reference") or ()),
        _drift_list("Against the last run", archive.drift.get("last_run") or ()),
    ]
    return el("section", heading, *lists)


def _drift_list(title: str, texts: Sequence[Any]) -> Html:
    if not texts:
        return el("p", el("b", f"{title}: "), "no differences.")
    items = [el("li", word(str(text))) for text in texts[:MOST_ROWS]]
    if len(texts) > MOST_ROWS:
        items.append(el("li", and_more(len(texts) - MOST_ROWS)))
    return el("div", el("h3", f"{title}: {counted(len(texts), 'difference')}"), el("ul", *items))


def proof(archive: Archive, manifest_sha256: str) -> Html:
    """Return how to check that page, manifest and files belong together."""
    documents = [el("li", word(name), " ", code(digest)) for name, digest in archive.documents.items()]
    ways: list[tuple[str, str]] = [
        ("This page belongs to that manifest", "sha256sum manifest.json"),
        ("The same in PowerShell", "Get-FileHash manifest.json -Algorithm SHA256"),
        ("No file has changed, without this tool", "sha256sum -c SHA256SUMS"),
        ("Hashes, file set and contents", "intune-dw verify ARCHIVE"),
        ("The archive agrees with the service", "intune-dw verify ARCHIVE --against-service"),
    ]
    return el(
        "section",
        el("h2", "Proof"),
        el("p", "manifest.json lists every file with its rows, size and SHA-256. Its own SHA-256 is"),
        el("p", code(manifest_sha256), class_="hash"),
        el("p", "Run in the archive's folder:"),
        el("dl", *(el("div", el("dt", name), el("dd", code(command))) for name, command in ways)),
        *([el("p", "The service's own description of its data:"), el("ul", *documents)] if documents else []),
        class_="proof",
    )


def sign_off() -> Html:
    """Return the lines to sign."""
    rows = [
        el(
            "tr",
            el("th", role, scope="row"),
            *(el("td", Html(""), data_label=label) for label in ("Name", "Date", "Signature")),
        )
        for role in ("Backed up by", "Verified by", "Move approved by")
    ]
    head = el("tr", *(el("th", name, scope="col") for name in ("", "Name", "Date", "Signature")))
    lines = el("table", el("thead", head), el("tbody", *rows), class_="sign")
    return el("section", el("h2", "Sign-off"), lines, class_="whole")
