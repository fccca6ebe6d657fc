"""Shapes of JSON: what is taken for what, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from intune_dw_cli.archive.shape import Every, Maybe, Shape

TEXT_OR_NULL = (str, None)
KEY = ([(str, int, float, bool, None)], None)


@pytest.mark.parametrize(
    ("shape", "raw"),
    [
        (str, "Łódź"),
        (int, 2**70),
        (bool, False),
        (float, 0.5),
        (list, [1, "a"]),
        (None, None),
        (TEXT_OR_NULL, None),
        (TEXT_OR_NULL, "東京"),
        (KEY, None),
        (KEY, [1, "a", None, True, 0.5]),
        ([str], []),
        ({"a": int, "b": Maybe([str])}, {"a": 1}),
        ({"a": int, "b": Maybe([str])}, {"a": 1, "b": ["x"], "c": "of no interest"}),
        (Every([str]), {"x": ["y"], "z": []}),
    ],
)
def test_a_value_of_the_shape_is_taken(shape: Any, raw: Any) -> None:
    Shape(shape).require(raw)


@pytest.mark.parametrize(
    ("shape", "raw"),
    [
        (str, 1),
        (str, "\ud800"),
        (int, True),
        (int, 1.0),
        (bool, 1),
        (float, 1),
        (list, {}),
        (None, 0),
        (TEXT_OR_NULL, 1),
        (TEXT_OR_NULL, "a\udfff"),
        ((int, None), True),
        (KEY, "abc"),
        (KEY, [[1]]),
        (KEY, ["\ud800"]),
        ([str], "abc"),
        ([str], ["a", None]),
        ({"a": int}, [("a", 1)]),
        ({"a": int}, {"a": "1"}),
        ({"a": Maybe([str])}, {"a": None}),
        (Every([str]), [["y"]]),
        (Every([str]), {"x": ["y"], "z": [1]}),
    ],
)
def test_a_value_of_another_shape_is_refused(shape: Any, raw: Any) -> None:
    with pytest.raises(TypeError):
        Shape(shape).require(raw)


def test_a_member_that_is_not_there_is_named() -> None:
    with pytest.raises(KeyError, match="b"):
        Shape({"a": int, "b": (int, None)}).require({"a": 1})
