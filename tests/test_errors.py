"""Every error that the package raises says what to do: by its own hint, or by that of its kind."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from intune_dw_cli import errors
from intune_dw_cli.errors import InterruptedRunError, OutputError, UsageError

PACKAGE = Path(errors.__file__).parent
KINDS: dict[str, Any] = {name: kind for name, kind in vars(errors).items() if name.endswith("Error")}


def raised() -> Iterator[tuple[str, str, ast.Call]]:
    """Where an error is made, the name of its class, and the call."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS:
                yield f"{path.relative_to(PACKAGE).as_posix()}:{node.lineno}", node.func.id, node


def test_every_error_says_what_to_do() -> None:
    found = list(raised())
    assert len(found) > 100
    without = [
        f"{where} {name}"
        for where, name, call in found
        if KINDS[name].usual_hint is None
        and not any(keyword.arg == "hint" for keyword in call.keywords)
        and not issubclass(KINDS[name], InterruptedRunError)  # the user knows what was interrupted, and by whom
    ]
    assert without == []


@pytest.mark.parametrize("kind", [k for k in KINDS.values() if k.usual_hint], ids=lambda kind: kind.__name__)
def test_the_usual_hint_is_a_sentence_and_gives_way(kind: Any) -> None:
    more = {"status": 500} if issubclass(kind, errors.ServiceError) else {}
    assert kind.usual_hint.endswith(".")
    assert kind("what", **more).hint == kind.usual_hint
    assert kind("what", hint="do this", **more).hint == "do this"


def test_a_hint_of_its_own_is_wanted_where_none_is_usual() -> None:
    assert UsageError("what").hint is None
    assert OutputError("what").hint
