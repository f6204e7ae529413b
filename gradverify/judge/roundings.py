"""What the definition rounds to 16 bits, so that its backward pass may as well."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from ..core.case import Case
from ..core.graph import Apply, Constant, Graph, Input
from ..namespaces.dtypes import FORMATS, floats_in_float64, rounded, to_float64
from ..namespaces.numpy import NUMPY
from ..namespaces.run import forward, reverse
from ..ops.build import lowered_with_origins
from .budget import casts
from .exact import MOVES

SAME = 1e-9
"""Two arrays are the same value to this share of the largest entry: some thousand roundings of a double at a condition of a
thousand, and no two of 16 bits."""


def computes_wide(case: Case) -> bool:
    """Does the definition compute, and not only cast, in a dtype wider than 16 bits?"""
    return any(
        isinstance(n, Apply)
        and n.op not in MOVES
        and not casts(case.graph, n)
        and case.formats.get(k) in FORMATS
        and not FORMATS[case.formats[k]].stores
        for k, n in enumerate(case.graph.nodes)
    )


def may_round(case: Case, dtype: str) -> bool:
    """Can any step of the case round in `dtype`? None can if all steps hold masks, signs or counts that it represents."""
    graph = case.graph
    steps = [k for k, d in case.formats.items() if d == dtype and not isinstance(graph.nodes[k], Input)]
    follows = [False] * len(graph.nodes)  # does the node move with a float input?
    for k, n in enumerate(graph.nodes):
        moved = isinstance(n, Input) or (isinstance(n, Apply) and n.op != "sign" and any(follows[a] for a in n.args))
        follows[k] = moved and n.kind in ("float", "complex")
    if not steps or any(follows[k] for k in steps):
        return True
    given = floats_in_float64(case.values)
    with np.errstate(all="ignore"):
        values = [np.asarray(v, dtype=np.float64) for v in forward(NUMPY, graph, given, "float64")]
    return any(not np.array_equal(rounded(values[k], dtype), values[k], equal_nan=True) for k in steps)


class Excused:
    """Which 16-bit nodes of a backward pass are what the definition, or autograd's derivative of it, rounds as well."""

    def __init__(self, case: Case, graph: Graph, formats: Mapping[int, str], values: list[Any]) -> None:
        self.graph, self.formats, self.values = graph, formats, values
        self.known: dict[int, list[np.ndarray]] = {}
        self.returned: dict[int, list[np.ndarray]] = {}
        self.computed: dict[int, list[np.ndarray]] = {}
        self._look_up(case)

    def _look_up(self, case: Case) -> None:
        """Sort the definition's values of 16 bits and their cotangents, whole and along each edge, by their size.

        The cotangents of inputs stand apart (`returned`): autograd adds them up and returns them, and reads none of them.
        """
        graph, origins = lowered_with_origins(case.graph)
        given = floats_in_float64(case.values)
        names = {k: n for n, k in graph.inputs.items()}

        def is_narrow(k: int) -> bool:
            dtype = case.dtype_of(names[k]) if k in names else case.formats.get(origins[k], case.dtype)
            return dtype in FORMATS and FORMATS[dtype].stores and graph.nodes[k].kind == "float"

        def note(k: int, value: Any, is_cotangent: bool = True) -> None:
            node = graph.nodes[k]
            if not is_narrow(k) or isinstance(node, Constant):
                return
            found = np.sort(np.asarray(value, dtype=np.float64), axis=None)
            table = self.returned if is_cotangent and isinstance(node, Input) else self.known
            table.setdefault(found.size, []).append(found)
            if isinstance(node, Apply) and not casts(graph, node):
                self.computed.setdefault(found.size, []).append(found)

        def arriving(g: Any, sender: int, k: int) -> Any:
            note(k, g)
            return g

        with np.errstate(all="ignore"):
            nodes = forward(NUMPY, graph, given, "float64")
            cotangent = [to_float64(g) for g in case.cotangent]
            adjoint = reverse(NUMPY, graph, nodes, cotangent, case.wrt, dead=True, arriving=arriving)
        for k, value in enumerate(nodes):
            if value is not None:
                note(k, value, is_cotangent=False)
        for k, value in adjoint.items():
            if value is not None:
                note(k, value)

    def of(self, narrow: Collection[int]) -> set[int]:
        tests = (self.is_known, self._is_sum, self._is_eager, self.is_operand)
        return {k for k in narrow if any(excuses(k) for excuses in tests)}

    def is_known(self, k: int) -> bool:
        """Is the node a value that the definition rounds to 16 bits, or the cotangent of one?

        One of an input counts where nothing but a gradient is made of it. That a norm's gradient is rounded when it is
        returned excuses no projection on the rounded one.
        """
        return self._stands_in(self.known, k) or (self._stands_in(self.returned, k) and k in self._only_returned)

    @cached_property
    def _only_returned(self) -> frozenset[int]:
        """The nodes that are only moved, cast, and added up to become gradients."""
        found: set[int] = set()
        for k in sorted(self.graph.active, reverse=True):
            if all(n in found and self._moves_or_adds(n) for n in self._users.get(k, ())):
                found.add(k)
        return frozenset(found)

    def _moves_or_adds(self, k: int) -> bool:
        node = self.graph.nodes[k]
        return isinstance(node, Apply) and (node.op in ("add", "index_add") or self._only_moves(k))

    def _is_sum(self, k: int) -> bool:
        """Is the node a part of a sum of known cotangents? Autograd adds up those of one value in its dtype, one by one."""
        node = self.graph.nodes[k]
        return (
            isinstance(node, Apply) and node.op == "add" and all(self.is_known(a) or self._is_sum(a) for a in node.args)
        )

    def _stands_in(self, table: Mapping[int, list[np.ndarray]], k: int) -> bool:
        """Is the node's exact value one of these, in whatever order its entries stand?"""
        value = np.sort(np.asarray(self.values[k], dtype=np.float64), axis=None)
        return any(_is_same(value, other) for other in table.get(value.size, ()))

    def _is_eager(self, k: int) -> bool:
        """Is the node computed in 16 bits from what the definition computes in 16 bits?"""
        if k not in self._eager:
            node = self.graph.nodes[k]
            self._eager[k] = self._is_narrow(k) and (
                self._stands_in(self.computed, k)
                or (
                    isinstance(node, Apply)
                    and all(map(self._may_be_eager, node.args))
                    and any(map(self._is_eager, node.args))
                )
            )
        return self._eager[k]

    @cached_property
    def _eager(self) -> dict[int, bool]:
        return {}

    def _is_narrow(self, k: int) -> bool:
        return k in self.formats and FORMATS[self.formats[k]].stores

    def _may_be_eager(self, k: int) -> bool:
        node = self.graph.nodes[k]
        return isinstance(node, Constant) or node.kind != "float" or self._is_narrow(k)

    def is_operand(self, k: int) -> bool:
        """Is the node used in products with matrices of 16 bits alone, cast for those or not?"""
        uses = self._users.get(k, [])
        return bool(uses) and all(self._is_product(n) or (self._only_moves(n) and self.is_operand(n)) for n in uses)

    def _is_product(self, k: int) -> bool:
        node = self.graph.nodes[k]
        return isinstance(node, Apply) and node.op == "matmul" and all(map(self._holds_narrow, node.args))

    def _holds_narrow(self, k: int) -> bool:
        """Has the node the values of one in 16 bits?"""
        node = self.graph.nodes[k]
        if self._is_narrow(k):
            return True
        return (
            isinstance(node, Apply)
            and self._only_moves(k)
            and self._holds_narrow((casts(self.graph, node) or node.args)[0])
        )

    def _only_moves(self, k: int) -> bool:
        node = self.graph.nodes[k]
        return isinstance(node, Apply) and (node.op in MOVES or bool(casts(self.graph, node)))

    @cached_property
    def _users(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for k in self.graph.active:
            node = self.graph.nodes[k]
            for a in dict.fromkeys(node.args) if isinstance(node, Apply) else ():
                found.setdefault(a, []).append(k)
        return found


def _is_same(value: np.ndarray, other: np.ndarray) -> bool:
    scale = float(np.max(np.abs(other), initial=0.0))
    return scale > 0 and bool((np.abs(value - other) <= SAME * scale).all())
