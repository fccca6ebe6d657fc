"""The page: its head, what was saved from where, and the sections in their order."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from intune_dw_cli.archive.report.annex import charts, drift, proof, sign_off
from intune_dw_cli.archive.report.attention import attention
from intune_dw_cli.archive.report.facts import Archive
from intune_dw_cli.archive.report.figures import byte_size, counted, counted_copies
from intune_dw_cli.archive.report.holdings import holdings_by_feed
from intune_dw_cli.archive.report.html import Html, badge, code, el, word


def render_report(content: Mapping[str, Any], manifest_sha256: str) -> str:
    """Return report.html.

    Args:
        content: The `content` of manifest.json. Missing optional fields count as empty.
        manifest_sha256: Hex digest of the bytes of manifest.json.
    """
    archive = Archive(content)
    body = [
        _head(archive, manifest_sha256),
        attention(archive),
        *holdings_by_feed(archive),
        charts(archive),
        drift(archive),
        proof(archive, manifest_sha256),
        sign_off(),
    ]
    title = f"Intune Data Warehouse backup as of {archive.as_of}"
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light"),
        el("title", title),
        Html(f"<style>{_style()}</style>"),
    )
    return f"<!DOCTYPE html>\n{el('html', head, el('body', el('main', *body)), lang='en')}\n"


def _head(archive: Archive, manifest_sha256: str) -> Html:
    holdings = archive.holdings
    copies = sum(len(h.copies) for h in holdings)
    among = f" ({counted_copies(copies)} among them)" if copies else ""
    saved = (
        f"{counted(len(holdings), 'collection')}, {counted(sum(h.rows for h in holdings), 'row')}, "
        f"{counted(sum(h.files for h in holdings), 'file')}{among}, {byte_size(sum(h.bytes for h in holdings))}"
    )
    feeds = [el("li", code(url)) for url in archive.feeds]
    facts: list[tuple[str, Html | str]] = [
        ("As of", el("time", archive.as_of)),
        ("Saved", saved),
        (
            "Trend charts",
            f"{len(archive.saved_charts)} of {len(archive.charts)} saved" if archive.charts else "none in this archive",
        ),
        (
            "Feeds, in order" if archive.several else "Feed",
            el("ol", *feeds) if archive.several else code(archive.feeds[0]),
        ),
        ("Tenant", word(archive.get("tenant"))),
        ("API version", word(archive.get("api_version"))),
        ("Format", word(archive.form)),
        ("Personal data", archive.personal_data),
        ("Made by", word(archive.get("tool"))),
        ("SHA-256 of manifest.json", code(manifest_sha256)),
    ]
    verdict = (
        "Every row that the service gave for everything planned is in a file that manifest.json lists."
        if archive.complete
        else "Something planned is not in the archive. The same backup command continues."
    )
    state = "complete" if archive.complete else "partial"
    return el(
        "header",
        el("p", "Intune Data Warehouse", class_="over"),
        el("h1", "Backup report"),
        el("p", badge(state), " ", verdict, class_="verdict"),
        el("dl", *(el("div", el("dt", name), el("dd", value)) for name, value in facts)),
    )


@cache
def _style() -> str:
    """Return style.css without its indents."""
    text = files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    return re.sub(r"\s*\n\s*", "\n", f"\n{text}")
