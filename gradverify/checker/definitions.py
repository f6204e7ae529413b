"""Definitions other than the function's own forward: a reference, a surrogate.

Both are functions of their own and are traced by themselves; here their inputs are matched with the judged function's,
and their graphs joined with its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..core.errors import BadInput, Unsupported
from ..core.graph import Apply, Graph, Input, Node
from ..frameworks.registry import of_functions
from ..trace import Argument, Traced

PARAMETERS = "parameters"
"""The argument under which a reference takes the parameters of the module that it is held against."""


HELD = ", held"
"""Ends the name of a copy of an input that is held fixed."""


def takes_parameters(fn: Callable[..., Any]) -> bool:
    """Has a reference an argument of this name? Then it wants them by their qualified names."""
    try:
        return PARAMETERS in inspect.signature(fn).parameters
    except (TypeError, ValueError):
        return False


def parameters_of(own: Traced) -> dict[str, Any]:
    """The judged function's parameters as its framework's arrays, by name."""
    parameter = of_functions(own.framework).parameter
    return {a.name: parameter(own.values[a.name], a.dtype) for a in own.arguments if a.role == "parameter"}


def alike(own: Traced, other: Traced, what: str) -> Traced:
    """Another definition with the judged function's names for its inputs.

    Arguments correspond by position, parameters by name: a module's, or the entries of an argument `parameters`. Arrays
    that either closes over are held fixed. Raises BadInput where they do not fit, and Unsupported for a module whose
    parameters the other definition does not know of.
    """
    mine, its = _part(own), _part(other)
    described = [", ".join(f"{a.kind}{list(a.shape)}" for a in part[0]) or "none" for part in (its, mine)]
    if [(a.shape, a.kind) for a in mine[0]] != [(a.shape, a.kind) for a in its[0]]:
        raise BadInput(f"{what} takes arguments {described[0]}, the function {described[1]}")
    names = {i.name: m.name for i, m in zip(its[0], mine[0])}
    known = {a.name: a for a in mine[1]}
    if known and not its[1]:
        raise Unsupported(f"{what} has no counterpart of the module's parameters: give it an argument `{PARAMETERS}`")
    for a in its[1]:
        name = a.name.removeprefix(f"{PARAMETERS}['").removesuffix("']")
        if name not in known or known[name].shape != a.shape:
            raise BadInput(f"{what} has a parameter {name!r} of shape {list(a.shape)}, the function has none such")
        names[a.name] = name
    values = dict(own.values)
    for a in other.arguments:
        if a.role == "captured":
            names[a.name] = next(n for n in _labels(f"{what}: {a.name}") if n not in values)
            values[names[a.name]] = other.values[a.name]
    graph = other.graph
    assert graph is not None
    joined = _Joined(own)
    outputs = joined.add(graph, names)
    return replace(own, graph=joined.graph(outputs), values=values, outputs=other.outputs, dtype=other.dtype)


def _part(traced: Traced) -> tuple[list[Argument], list[Argument]]:
    """Its arguments, and its parameters."""
    free = [a for a in traced.arguments if a.role != "captured"]
    parameter = lambda a: a.role == "parameter" or a.name.startswith(f"{PARAMETERS}[")
    return [a for a in free if not parameter(a)], [a for a in free if parameter(a)]


def _labels(name: str) -> Any:
    yield name
    k = 2
    while True:
        yield f"{name} ({k})"
        k += 1


def with_surrogate(forward: Traced, backward: Traced, wrt: tuple[str, ...]) -> Traced:
    """A definition with the values of `forward` and the gradient of `backward` with respect to `wrt`; both are over the
    same inputs (`alike`).

    It is backward(x) + (forward(x₀) - backward(x₀)), with x₀ a copy of x that is held fixed: a function like any other,
    of which differences find the gradient that is meant. Raises BadInput where the outputs differ in shape.
    """
    f, b = forward.graph, backward.graph
    assert f is not None
    assert b is not None
    shapes = [[g.nodes[o].shape for o in g.outputs] for g in (b, f)]
    if shapes[0] != shapes[1]:
        raise BadInput(f"the surrogate's outputs have shapes {shapes[0]}, the function's {shapes[1]}")
    held = {n: n + HELD for n in wrt}
    values = {**forward.values, **backward.values, **{h: forward.values[n] for n, h in held.items()}}
    joined = _Joined(forward)
    parts = joined.add(b, {}), joined.add(f, held), joined.add(b, held)
    outputs = [joined.sum(live, joined.difference(value, fixed)) for live, value, fixed in zip(*parts)]
    return replace(forward, graph=joined.graph(outputs), values=values)


class _Joined:
    """Several graphs over one set of inputs, which begins with those of the judged function."""

    def __init__(self, own: Traced) -> None:
        self.nodes: list[Node] = [Input(a.name, a.shape, a.kind) for a in own.arguments]
        self.at = {a.name: k for k, a in enumerate(own.arguments)}

    def add(self, graph: Graph, names: Mapping[str, str]) -> list[int]:
        """The nodes of another graph, its inputs under their new names; its outputs."""
        new: list[int] = []
        for node in graph.nodes:
            if isinstance(node, Input):
                name = names.get(node.name, node.name)
                if name not in self.at:
                    self.at[name] = self._append(replace(node, name=name))
                new.append(self.at[name])
            elif isinstance(node, Apply):
                new.append(self._append(replace(node, args=tuple(new[a] for a in node.args))))
            else:
                new.append(self._append(node))
        return [new[o] for o in graph.outputs]

    def sum(self, a: int, b: int) -> int:
        return self._append(Apply("add", (a, b), (), self.nodes[a].shape))

    def difference(self, a: int, b: int) -> int:
        return self._append(Apply("subtract", (a, b), (), self.nodes[a].shape))

    def graph(self, outputs: list[int]) -> Graph:
        return Graph(tuple(self.nodes), tuple(outputs)).pruned()

    def _append(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1
