"""Elements that escape what they are given, and the pieces that sections are put together from."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from intune_dw_cli.archive.report.figures import and_more

MOST_ROWS = 200
_LONGEST = 300
_VOID = {"meta"}
_BLOCKS = {"head", "header", "section", "div", "p", "h1", "h2", "h3", "dl", "li", "table", "thead", "tr", "svg"}
_JOINERS = "\u200c\u200d"


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def el(tag: str, *children: str, **attributes: str) -> Html:
    """Return an element. Children that are no `Html`, and all attributes, are escaped.

    `class_` stands for `class`, and `_` inside a name for `-`.
    """
    pairs = "".join(f' {n.rstrip("_").replace("_", "-")}="{escape(v)}"' for n, v in attributes.items())
    if tag in _VOID:
        return Html(f"<{tag}{pairs}>")
    inner = "".join(child if isinstance(child, Html) else escape(child) for child in children)
    end = "\n" if tag in _BLOCKS else ""
    return Html(f"<{tag}{pairs}>{inner}</{tag}>{end}")


def escape(text: str) -> Html:
    """Return text as markup that shows it."""
    return Html(html.escape(text if text.isprintable() else "".join(map(_seen, text))))


def _seen(char: str) -> str:
    """Return a character so that it can be seen and does nothing: controls and text direction marks get names."""
    kind = unicodedata.category(char)
    if kind in ("Cc", "Cs", "Zl", "Zp") or (kind == "Cf" and char not in _JOINERS):
        return f"[U+{ord(char):04X}]"
    return char


def word(text: str) -> Html:
    """Return what the service or a user named, kept apart in its direction and bounded in length."""
    return el("bdi", cut(text))


def humped(name: str) -> Html:
    """Return a long name that may break before its capitals."""
    return el("bdi", Html("<wbr>".join(map(escape, re.split(r"(?<=[a-z])(?=[A-Z])", cut(name))))))


def small(text: str) -> Html:
    """Return the small print below a value; the blank keeps them apart where the page is read as text."""
    return Html(f" {el('small', text)}")


def code(text: Any) -> Html:
    """Return what is to be read or typed letter by letter, bounded in length."""
    return el("code", cut(str(text)))


def cut(text: str) -> str:
    """Return text bounded in length."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def listed(names: Sequence[str]) -> Html:
    """Return names with commas, those that are too many as a number."""
    shown = [word(name) for name in names[:MOST_ROWS]]
    return Html(", ".join(shown) + escape(and_more(len(names) - MOST_ROWS)))


def group(title: str, about: str, *content: Html, calm: bool = False) -> Html:
    """Return a titled block of the section on what needs attention; `calm` where it can wait."""
    lead = [el("p", about)] if about else []
    return el("div", el("h3", title), *lead, *content, class_="group calm" if calm else "group")


def badge(state: str) -> Html:
    """Return a state with a sign, so that colour is not all that tells it."""
    sign = {"complete": "✓", "saved": "✓", "attached": "✓"}.get(state, "!")
    return el("span", f"{sign} {cut(state)}", class_="badge good" if sign == "✓" else "badge bad")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str, *, class_: str = "") -> Html:
    """Return a table whose first column heads its rows. A column that begins with # holds numbers."""
    numeric = [name.startswith("#") for name in columns]
    labels = [name.removeprefix("#") for name in columns]
    kinds = [{"class_": "number"} if n else {} for n in numeric]
    head = el("tr", *(el("th", n, scope="col", **k) for n, k in zip(labels, kinds, strict=True)))
    body = [
        el(
            "tr",
            el("th", row[0], scope="row"),
            *(
                el("td", el("div", cell), data_label=label, **kind)
                for cell, label, kind in zip(row[1:], labels[1:], kinds[1:], strict=True)
            ),
        )
        for row in rows[:MOST_ROWS]
    ]
    more = [el("p", f"{and_more(len(rows) - MOST_ROWS).lstrip()}: see manifest.json.")] if len(rows) > MOST_ROWS else []
    whole = el("table", el("caption", caption), el("thead", head), el("tbody", *body), class_=class_)
    return Html(whole + "".join(more))
