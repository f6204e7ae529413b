"""Graphs compare by what they say."""

from __future__ import annotations

import pickle

import pytest

from gradverify.core.graph import Constant
from gradverify.spec.expression import parse

X = {"x": ((2,), "float")}


@pytest.mark.parametrize("text", ["x * nan", "x * [nan, 1.0]", "x + nan", "where(x > nan, x, nan)", "x * 2.0"])
def test_equal_texts_make_equal_graphs(text: str) -> None:
    a, b = parse(text, X), parse(text, X)
    assert a == b
    assert hash(a.nodes) == hash(b.nodes)
    assert pickle.loads(pickle.dumps(a)) == a  # its NaN is another object


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (float("nan"), float("nan"), True),
        (complex(1, float("nan")), complex(1, float("nan")), True),
        (complex(1, float("nan")), complex(2, float("nan")), False),
        ((1.0, (float("nan"),)), (1.0, (float("nan"),)), True),
        (float("nan"), "nan", False),
        (1.0, 2.0, False),
        (True, 1, True),
    ],
)
def test_constants(a: object, b: object, same: bool) -> None:
    assert (Constant(a) == Constant(b)) is same
    if same:
        assert hash(Constant(a)) == hash(Constant(b))
    assert Constant(a) != Constant(a, kind="int")
    assert Constant(a) != a
