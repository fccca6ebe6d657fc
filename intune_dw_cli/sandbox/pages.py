"""One page of a collection: which rows, how they are written, and the link to the next page."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from intune_dw_cli.sandbox.generate.source import NO_DAY, Block, Place, to_json
from intune_dw_cli.sandbox.skiptoken import SkipToken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from intune_dw_cli.reference import ReferenceCollection
    from intune_dw_cli.sandbox.config import ServerConfig
    from intune_dw_cli.sandbox.faults import Fault
    from intune_dw_cli.sandbox.messages import Request
    from intune_dw_cli.sandbox.query import Query
    from intune_dw_cli.sandbox.tenant import Tenant


@dataclass
class Page:
    """The rows of one page as JSON text, and where the next page starts, if there is one."""

    number: int
    rows: list[str]
    next: SkipToken | None = None


def page_number(query: Query) -> int:
    """Return the number of the page in its chain, from 1."""
    return query.token.page if query.token else 1


def empty_page(query: Query) -> Page:
    """Return a page without rows whose next page has the rows that this one should have had."""
    here = query.token or SkipToken(Place(NO_DAY, 0), 1, query.top)
    return Page(here.page, [], replace(here, page=here.page + 1))


def read_page(tenant: Tenant, name: str, query: Query, size: int) -> Page:
    """Collect the rows of a page; the work is that of one page, wherever in the collection it lies."""
    token = query.token or SkipToken(Place(NO_DAY, 0), 1, query.top)
    wanted = size if token.left is None else min(size, token.left)
    rows: list[str] = []
    follows: Place | None = None
    skip = 0 if query.token else query.skip
    for day, block in _blocks(tenant, name, query, token.place) if wanted else ():
        if skip >= len(block.ids):
            skip -= len(block.ids)
            continue
        take = skip + wanted - len(rows)
        rows += block.rows[skip:take]
        skip = 0
        if len(block.ids) > take:
            follows = Place(day, block.ids[take])
            break
        if len(rows) == token.left:
            break
    left = None if token.left is None else token.left - len(rows)
    if follows is None or left == 0:
        return Page(token.page, rows)
    return Page(token.page, rows, SkipToken(follows, token.page + 1, left))


def _blocks(tenant: Tenant, name: str, query: Query, start: Place) -> Iterator[tuple[int, Block]]:
    """Yield the blocks of the days and rows that are asked for."""
    source, today = tenant.source(name), tenant.config.today.toordinal()
    days = [day for day in source.days if query.wants_day(day, today)]
    column = tenant.model(name).row_last_modified
    for day, block in source.walk(days, start):
        if not query.modified:
            yield day, block
            continue
        kept = [
            (id_, row)
            for id_, row in zip(block.ids, block.rows, strict=True)
            if query.wants_row(json.loads(row), column)
        ]
        if kept:
            yield day, Block([id_ for id_, _ in kept], [row for _, row in kept])


def write_page(page: Page, context: str, next_link: str | None) -> bytes:
    """Return a page's JSON, without blanks as ASP.NET writes it."""
    tail = f'],"@odata.nextLink":{to_json(next_link)}}}' if next_link else "]}"
    return f'{{"@odata.context":{to_json(context)},"value":[{",".join(page.rows)}{tail}'.encode()


class RowWriter:
    """Rewrites the rows of a page where a request, the configuration or a fault wants more than the plain row."""

    def __init__(
        self, model: ReferenceCollection, query: Query, config: ServerConfig, fault: Fault | None, namespace: str
    ) -> None:
        self._model = model
        self._namespace = namespace
        self._int64s = {prop.name for prop in model.properties if prop.type == "Edm.Int64"}
        kind = fault.kind if fault else None
        self._changes: list[Callable[[dict[str, Any]], dict[str, Any]]] = []
        if query.select is not None:
            names = query.select
            self._changes.append(lambda row: {name: row[name] for name in names})
        if fault is not None and kind == "missing-column":
            missing = fault.name or model.properties[-1].name
            self._changes.append(lambda row: {name: value for name, value in row.items() if name != missing})
        if fault is not None and kind == "extra-column":
            extra = {fault.name or "driftedProperty": _value(fault.value)}
            self._changes.append(lambda row: {**row, **extra})
        if config.int64_as_string or kind == "int64-string":
            self._changes.append(self._with_text_numbers)
        if config.full_annotations:
            self._changes.append(self._annotated)

    def rewrite(self, page: Page) -> Page:
        """Return the page as it is to be served; in the usual case the very same rows."""
        if not self._changes:
            return page
        return replace(page, rows=[to_json(self._changed(json.loads(row))) for row in page.rows])

    def _changed(self, row: dict[str, Any]) -> dict[str, Any]:
        for change in self._changes:
            row = change(row)
        return row

    def _with_text_numbers(self, row: dict[str, Any]) -> dict[str, Any]:
        return {
            name: str(value) if name in self._int64s and value is not None else value for name, value in row.items()
        }

    def _annotated(self, row: dict[str, Any]) -> dict[str, Any]:
        """Annotate a row as under odata.metadata=full: its type, its id, and types that JSON cannot tell."""
        key = ",".join(f"{name}={row[name]}" for name in self._model.key if name in row)
        identity = f"{self._model.name}({key})"
        annotated: dict[str, Any] = {
            "@odata.type": f"#{self._namespace}.{self._model.entity_type}",
            "@odata.id": identity,
            "@odata.editLink": identity,
        }
        for name, value in row.items():
            prop = self._model.property(name)
            if prop is not None and prop.type in ("Edm.Int64", "Edm.Guid", "Edm.DateTimeOffset"):
                annotated[f"{name}@odata.type"] = f"#{prop.type.removeprefix('Edm.')}"
            annotated[name] = value
        return annotated


def _value(value: Any) -> Any:
    """Return a fault's value: JSON if it is, the text itself if not."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def next_link(request: Request, query: Query, page: Page, config: ServerConfig, fault: Fault | None) -> str | None:
    """Return the link to the next page, bent by a fault if there is one."""
    bent = _bent_link(request, query, page, fault)
    if bent is not None or page.next is None:
        return bent
    token = page.next.lower_hex() if config.next_link == "lower-hex" else page.next.text()
    options = "&".join((*query.kept, f"$skiptoken={token}"))
    if config.next_link == "relative":
        return f"{request.path.rpartition('/')[2]}?{options}"
    return f"{request.origin}{request.path}?{options}"


def _bent_link(request: Request, query: Query, page: Page, fault: Fault | None) -> str | None:
    kind = fault.kind if fault else ""
    if fault is None or not kind.startswith("next-"):
        return None
    first = f"{request.path}?{'&'.join(query.kept)}"
    ahead = f"{first}&$skiptoken={page.next.text()}" if page.next else request.target
    host = urlsplit(request.origin)
    return {
        "next-loop": request.origin + request.target,
        "next-cycle": request.origin + first,
        "next-foreign": fault.url,
        "next-http": f"http://{host.netloc}{ahead}",
        "next-port": f"{host.scheme}://{host.hostname}:{(host.port or 443) % 65535 + 1}{ahead}",
    }[kind]
