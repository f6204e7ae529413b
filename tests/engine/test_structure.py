"""The engine's files: no circle of imports, and the way that its reading order points out."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterable, Mapping
from types import FrameType
from typing import Any

import gradverify.engine as engine
from gradverify.engine.rules import rule

from ..test_imports import imported, modules, target

Graph = Mapping[str, Iterable[str]]

CIRCLES: list[set[str]] = []
"""The circles that are left, each with its reason."""


def imports() -> dict[str, set[str]]:
    """Per file of the engine, those that it imports: at any depth, lazily or for type checkers."""
    files = {name: path for name, path in modules() if f"{name}.".startswith("gradverify.engine.")}
    return {name: {target(t, set(files)) for t, _ in imported(name, path)} & set(files) - {name}
            for name, path in files.items()}  # fmt: skip


def circles(graph: Graph) -> list[set[str]]:
    """The strongly connected components of more than one node (Tarjan 1972)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in order:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == order[node]:
            at = stack.index(node)
            found.append(set(stack[at:]))
            del stack[at:]

    for node in graph:
        if node not in order:
            visit(node)
    return [c for c in found if len(c) > 1]


def test_no_circle_but_those_that_are_named() -> None:
    assert circles(imports()) == CIRCLES


def test_the_imports_are_seen() -> None:
    graph = imports()
    assert len(graph) > 40
    assert "gradverify.engine.dispatch" in graph["gradverify.engine.views"]
    assert "gradverify.engine.autograd.gradients" in graph["gradverify.engine.composite"]


def test_a_circle_would_be_seen() -> None:
    assert circles({"a": "b", "b": "cd", "c": "a", "d": "e", "e": "d", "f": "a"}) == [{"d", "e"}, {"a", "b", "c"}]
    assert circles({"a": "bc", "b": "c", "c": ""}) == []


# ---- from x * y to its derivative: the reading order at the top of the engine -----------------------------------------


def steps() -> list[tuple[str, str]]:
    """(module, name of a function), as the docstring has them."""
    lines = re.findall(r"^    (\S+)\.py: (\S+) ", engine.__doc__ or "", re.MULTILINE)
    return [("gradverify.engine." + file.replace("/", "."), name) for file, name in lines]


def test_the_reading_order_names_functions_that_exist() -> None:
    assert len(steps()) == 6
    for module, name in steps():
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        assert callable(found)


def test_the_reading_order_is_the_order_of_the_calls() -> None:
    """`x * y` and its backward pass call them one after the other (the first one made the method that is called)."""
    rule("multiply").plans.clear()
    rule("multiply").leaves.clear()
    x, y = engine.tensor(2.0, requires_grad=True), engine.tensor(3.0, requires_grad=True)
    calls: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, arg: object) -> None:
        if event == "call":
            calls.append((frame.f_globals.get("__name__", ""), frame.f_code.co_qualname.partition(".<locals>")[0]))

    sys.setprofile(note)
    try:
        z = x * y
        z.backward()
    finally:
        sys.setprofile(None)
    assert (x.grad.item(), y.grad.item()) == (3.0, 2.0)
    assert [call for call in dict.fromkeys(calls) if call in steps()] == steps()
