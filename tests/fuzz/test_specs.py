"""Spec files: right ones with their keys, values, expressions and bytes broken."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from gradverify.core.errors import SpecError
from gradverify.ops import OPS
from gradverify.ops.complex.lowering import COMPLEX
from gradverify.spec.document import loads

from .mutations import LONG, ODD, QUICK, broken, runs, survives, torn

WORDS = [
    *OPS,
    *COMPLEX,
    "x",
    "y",
    "a",
    "b",
    "g",
    "pi",
    "inf",
    "None",
    "2",
    "0.5",
    "1e300",
    "3j",
    "9" * 19,
    "'ij,jk->ik'",
]
SIGNS = list("+-*/@,()[]<>=&|~:. ") + ["**", "<=", "==", "...", "//", ":=", "if", "lambda", "axis=", "é", "\t"]
expressions = st.one_of(
    st.lists(st.sampled_from([*WORDS, *SIGNS]), min_size=1, max_size=25).map("".join),
    st.sampled_from([s.example for s in (*OPS.values(), *COMPLEX.values())]),
    st.builds(
        lambda e, s: e.replace("x", s, 1), st.sampled_from([s.example for s in OPS.values()]), st.sampled_from(WORDS)
    ),
)
shapes = st.lists(st.sampled_from([0, 1, 2, 3, 4, 7, 300, 5000, 2**24, 2**62]), max_size=4)
inputs = st.fixed_dictionaries(
    {"shape": shapes},
    optional={
        "domain": st.sampled_from(
            ["real", "positive", "invertible", [0, 1], [1, 0], [0, 10**400], [".nan", 1], "nope"]
        ),
        "dtype": st.sampled_from(["float", "int64", "bool", "complex", "float16"]),
        "values": st.sampled_from([1, [1, 2], [[1, 2], [3]], [True, False], ["1+2j"], [".inf"], 10**30, []]),
    },
)
CASE = {
    "name": "a", "expr": "tanh(x @ w + b)", "let": {"h": "x * 2", "k": "sum(h)"},
    "grad": {"b": "sum(g * (1 - tanh(x @ w + b)**2), axis=0)"}, "call": "os:abort",
    "inputs": {"x": {"shape": [2, 3], "domain": [0, 1]}, "w": [[1.0, 2.0], [3.0, 4.0], [0.5, 1.5]], "b": [1, 2.5]},
    "wrt": ["x", "b"], "cotangent": 1, "expect": "pass", "dtypes": ["float32"], "subjects": ["engine"], "seed": 3,
    "invariants": ["linearity"], "tags": ["smoke"], "note": "text", "inconclusive": {"torch": "why"},
}  # fmt: skip


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A document as text: one case, or two, whose parts are drawn or broken."""
    case: dict[str, Any] = {**CASE, "expr": draw(expressions), "inputs": {n: draw(inputs) for n in ("x", "y")}}
    for key in ("let", "grad", "call", "wrt", "cotangent", "invariants", "inconclusive"):
        if draw(st.booleans()):
            del case[key]
    odd = st.one_of(st.sampled_from(ODD), expressions)
    broken_case = draw(broken(draw(st.sampled_from([case, CASE])), odd, most=2))
    tree = {"gradverify": 1, "defaults": {"dtypes": ["float64"], "seed": 1}, "cases": [broken_case]}
    return _dumped(draw(broken(tree, odd, most=1)) if draw(st.integers(0, 9)) == 0 else tree)


def _dumped(tree: Any) -> str:
    """YAML by JSON's rules, but for the numbers that JSON has not."""
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{_dumped(str(k))}: {_dumped(v)}" for k, v in tree.items()) + "}"
    if isinstance(tree, list):
        return "[" + ", ".join(map(_dumped, tree)) + "]"
    if isinstance(tree, str):
        return "'" + tree.replace("'", "''").replace("\0", "") + "'"
    if tree is None or isinstance(tree, bool):
        return {None: "null", True: "true", False: "false"}[tree]
    return str(tree).replace("nan", ".nan").replace("inf", ".inf")


texts = st.one_of(
    documents(),
    documents(),
    torn(b"gradverify: 1\ncases:\n  - name: a\n    expr: |\n      sum(x)\n    inputs: {x: [1.0, &a 2.0]}\n").map(
        lambda b: b.decode("utf-8", "replace")
    ),
)


def attempt(text: str) -> bool:
    def work() -> None:
        for spec in loads(text).cases:
            spec.case(spec.dtypes[0])

    return survives(work, SpecError)


@pytest.mark.parametrize("examples", [2 * QUICK, pytest.param(2 * LONG, marks=pytest.mark.slow)])
def test_broken_specs(examples: int) -> None:
    read = []

    @runs(examples)
    @given(texts)
    def broken_spec(text: str) -> None:
        read.append(attempt(text))

    broken_spec()
    assert sum(read) > len(read) / 50, "nearly nothing gets past the reader: the harness makes nothing of interest"


def test_what_is_dumped_is_yaml() -> None:
    tree = {"a": [1, None, True, "it's", 1.5], "b": {}}
    assert YAML(typ="safe").load(_dumped(tree)) == tree
    assert attempt(_dumped({"gradverify": 1, "cases": [CASE]}))
