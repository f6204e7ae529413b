"""What the engine finds a VJP text to read, and so keeps for backward."""

from __future__ import annotations

from typing import Any

import pytest

from gradverify.engine.reads import Read, reads
from gradverify.engine.rules import rule


def spread(xp: Any, g: Any, x: Any, scale: float) -> Any:
    return xp.broadcast_to(g * scale, xp.shape(x))


def looks(xp: Any, x: Any) -> Any:
    return x + 1


def recursive(xp: Any, x: Any, n: int) -> Any:
    return xp.shape(x) if n == 0 else looks(xp, x)


def through_a_name(xp: Any, g: Any, out: Any, x: Any) -> Any:
    y = x
    return g * y


def in_a_closure(xp: Any, g: Any, out: Any, x: Any) -> Any:
    inner = lambda: x
    return g * inner()


def pair(xp: Any, g: Any, a: Any, b: Any) -> Any:
    turned = len(xp.shape(a)) == 1
    if turned:
        b = xp.expand_dims(b, 0)
    return (xp.expand_dims(a, 0), b) if turned else (a, b)


def takes_one_of_a_pair(xp: Any, g: Any, out: Any, a: Any, b: Any) -> Any:
    _left, right = pair(xp, g, a, b)
    return g * right


def loops(xp: Any, g: Any, out: Any, x: Any, y: Any) -> Any:
    total = g
    for _ in range(xp.shape(x)[0]):
        total = total * y
    return total


def branches(xp: Any, g: Any, out: Any, x: Any, y: Any) -> Any:
    if 0 in xp.shape(x):
        return xp.zeros_like(y)
    scale = y if len(xp.shape(y)) else 1.0
    return g * scale


CASES = {
    "nothing": (lambda xp, g, out, x, y: g, {"out": 0, "x": 0, "y": 0}),
    "value": (lambda xp, g, out, x, y: g * y, {"out": 0, "x": 0, "y": 2}),
    "output": (lambda xp, g, out, x: g * out, {"out": 2, "x": 0}),
    "shape": (lambda xp, g, out, x: xp.reshape(g, xp.shape(x)), {"out": 0, "x": 1}),
    "zeros_like": (lambda xp, g, out, x, i: xp.index_add(xp.zeros_like(x), i, g, 0), {"x": 1, "i": 2}),
    "like": (lambda xp, g, out, x: xp.ones((2,), like=x), {"x": 1}),
    "attribute": (lambda xp, g, out, x: xp.reshape(g, x.shape), {"x": 1}),
    "both": (lambda xp, g, out, x: xp.reshape(g, xp.shape(x)) * x, {"x": 2}),
    "helper, shape": (lambda xp, g, out, x: spread(xp, g, x, 2.0), {"x": 1}),
    "helper, value": (lambda xp, g, out, x: g * looks(xp, x), {"x": 2}),
    "helper of a helper": (lambda xp, g, out, x: recursive(xp, x, 0), {"x": 2}),
    "alias": (through_a_name, {"x": 2}),
    "closure": (in_a_closure, {"x": 2}),
    "kernel": (lambda xp, g, out, x: g * xp.sign(x), {"x": 2}),
    "one of a pair": (takes_one_of_a_pair, {"a": 1, "b": 2}),
    "loop": (loops, {"x": 1, "y": 2}),
    "branches": (branches, {"x": 1, "y": 2}),
    "a name that is not used": (lambda xp, g, out, x: (g, x)[0], {"x": 2}),
    "all arguments": (lambda xp, i, g, out, *args: sum(xp.shape(a)[0] for a in args[:i]), {"args": 1}),
    "one of the arguments": (lambda xp, i, g, out, *args: g * args[1 - i], {"args": 2}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_reads(name: str) -> None:
    text, want = CASES[name]
    found = reads(text)
    assert found is not None
    assert {k: int(found[k]) for k in want} == want


def test_two_texts_on_one_line_are_told_apart() -> None:
    first, second = (lambda xp, g, out, x, y: g * y, lambda xp, g, out, x, y: g * x)
    assert [reads(f)["x"] for f in (first, second)] == [Read.NOTHING, Read.VALUE]  # type: ignore[index]


def test_without_a_source_everything_is_kept() -> None:
    scope: dict[str, Any] = {}
    exec("text = lambda xp, g, out, x: g", scope)
    assert reads(scope["text"]) is None


@pytest.mark.parametrize(
    ("op", "wanted", "values", "shapes", "output"),
    [
        ("add", 0b11, (), (), Read.NOTHING),
        ("multiply", 0b01, (1,), (), Read.NOTHING),
        ("multiply", 0b11, (0, 1), (), Read.NOTHING),
        ("exp", 0b1, (), (), Read.VALUE),
        ("sum", 0b1, (), (0,), Read.NOTHING),
        ("reshape", 0b1, (), (0,), Read.NOTHING),
        ("matmul", 0b10, (0,), (1,), Read.NOTHING),
    ],
)
def test_plans(op: str, wanted: int, values: Any, shapes: Any, output: Read) -> None:
    r = rule(op)
    plan = r.plan(wanted, r.spec.arity)
    assert (plan.values, plan.shapes, plan.output) == (values, shapes, output)


def test_concatenation_keeps_no_value() -> None:
    plan = rule("concat").plan(0b111, 3)
    assert plan.values == ()
    assert not plan.keeps
