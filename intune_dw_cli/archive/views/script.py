"""The whole file: its header, a view a collection, the ready joins, the dated copies, the feeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from intune_dw_cli.archive.views.history import has_copies, history_view
from intune_dw_cli.archive.views.star import Star
from intune_dw_cli.archive.views.statements import Names, commented, create_view, literal
from intune_dw_cli.archive.views.tables import Table, collection_view
from intune_dw_cli.data.redact import in_words
from intune_dw_cli.data.schema import ADDITIONAL


def render_views(content: Mapping[str, Any]) -> str:
    """Return views.sql for an archive: SQL for DuckDB 1.1 or newer, to be run with the archive's folder as cwd.

    Args:
        content: The `content` of manifest.json. Missing optional fields count as empty.
    """
    entries: dict[str, list[Mapping[str, Any]]] = {}
    for entry in content.get("collections") or ():
        entries.setdefault(str(entry["name"]), []).append(entry)
    feeds = _feeds(content)
    names = Names()
    blocks = [_header(content, feeds)]
    tables: dict[str, Table] = {}
    copied: list[tuple[str, Table]] = []
    for name, held in entries.items():
        text, table = collection_view(names.take(name), name, held, len(feeds) > 1)
        blocks.append(text)
        if table:
            tables.setdefault(name.casefold(), table)
            copied += [(name, table)] if has_copies(held) else []
    blocks.append("-- Ready joins. Each adds names to rows, within one feed, and never adds rows.\n")
    star = Star(tables, names, str(content.get("as_of") or ""))
    blocks += star.views()
    blocks += [history_view(names.take(f"{name}_history"), name, entries[name], table) for name, table in copied]
    if len(feeds) > 1:
        blocks.append(_feeds_view(names.take("feeds"), feeds))
    return "\n".join(blocks)


def _feeds(content: Mapping[str, Any]) -> list[str]:
    """Return the feed URLs, one a feed that any collection names."""
    feeds = [str(f) for f in content.get("feeds") or [content.get("source") or ""]]
    highest = max((int(c.get("feed") or 1) for c in content.get("collections") or ()), default=1)
    return feeds + ["?"] * (highest - len(feeds))


def _header(content: Mapping[str, Any], feeds: Sequence[str]) -> str:
    lines = [
        "The archive as DuckDB views (DuckDB 1.1 or newer). In the archive's folder, for instance:",
        "",
        '    duckdb -init views.sql -c "SELECT * FROM compliance_by_day ORDER BY ALL"',
        "",
        f"Made by {content.get('tool')}; state {content.get('state')}; as of {content.get('as_of')}.",
        "",
        f"Types are those of the service's $metadata. {_format_note(content)}",
        f"{ADDITIONAL} holds, as JSON, properties that $metadata did not declare.",
    ]
    if label := content.get("redaction"):
        lines.append(f"Personal data is {in_words(str(label))}.")
    if len(feeds) > 1:
        lines += [
            "",
            "This archive goes on over a data-center move. The column feed says which feed a row came from;",
            "keys begin anew with each feed, so join with it: ... ON a.feed = b.feed AND a.userKey = b.userKey",
            *(f"    feed {number}: {url}" for number, url in enumerate(feeds, 1)),
        ]
    return commented(lines) + "\n-- Times are shown in UTC, as the warehouse counts its days.\nSET TimeZone = 'UTC';\n"


def _format_note(content: Mapping[str, Any]) -> str:
    if content.get("format") == "parquet":
        return "The Parquet files carry them."
    return 'In CSV an empty field is null and "" is empty text; Decimal and Binary stay text.'


def _feeds_view(view: str, feeds: Sequence[str]) -> str:
    rows = ",\n    ".join(f"({number}, {literal(url)})" for number, url in enumerate(feeds, 1))
    select = f"SELECT * FROM (VALUES\n    {rows}) AS f(feed, url)"  # noqa: S608 - literals only
    return create_view(view, ["The feeds that this archive was read from, in order."], select)
