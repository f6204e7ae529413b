"""A case as its author wrote it, and its values in a dtype."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ..core.case import Case, Expect, Source
from ..core.graph import Apply, Graph, Input
from ..core.op import Kind, Shape
from ..namespaces import NUMPY
from ..namespaces.dtypes import FORMATS, PRECISION, is_float, numpy_dtype, rounded, to_float64
from ..ops import OPS
from ..ops.complex.lowering import is_complex
from .keys import DEFAULT_DTYPES
from .values import DOMAINS, Domain, draw, draw_integers, signed, signed_complex


@dataclass(frozen=True, eq=False)
class InputSpec:
    """An input: its values, or how they are drawn (`domain`; for integers `bounds`, both ends included).

    stated  the author says the domain; else it is derived from the ops that use the input
    """

    name: str
    shape: Shape
    kind: Kind = "float"
    values: np.ndarray | None = None
    domain: Domain | None = None
    bounds: tuple[int, int] | None = None
    stated: bool = False

    def ends(self, dtype: str) -> tuple[float, float] | None:
        """The ends of a stated domain, within it in `dtype`; None where there is none, or it is of matrices."""
        if not self.stated or self.domain is None or self.domain.shape is not None or self.kind != "float":
            return None
        lo, hi = self.domain.parts[0].lo, self.domain.parts[-1].hi
        return _inward(lo, dtype, 1.0), _inward(hi, dtype, -1.0)


@dataclass(frozen=True, eq=False)
class CaseSpec:
    """A case as its author wrote it; `case(dtype)` gives it values.

    subjects      None where neither the case nor the defaults say
    outputs       shapes of the outputs
    cotangent     one array, or None to draw it, per output
    inconclusive  subject -> why no verdict is to be had on it; "*" for every subject
    guards        inputs that a structured op takes directly and whose domain nobody stated: name -> index of that op
    """

    name: str
    file: str
    line: int
    graph: Graph
    inputs: Mapping[str, InputSpec]
    claims: Mapping[str, Graph] = field(default_factory=dict)
    cotangent: tuple[np.ndarray | None, ...] = ()
    wrt: tuple[str, ...] = ()
    function: str | None = None
    vjp: str | None = None
    expect: Expect = "pass"
    invariants: tuple[str, ...] = ()
    subjects: tuple[str, ...] | None = None
    dtypes: tuple[str, ...] = DEFAULT_DTYPES
    tags: tuple[str, ...] = ()
    seed: int = 0
    note: str = ""
    inconclusive: Mapping[str, str] = field(default_factory=dict)
    guards: Mapping[str, int] = field(default_factory=dict)

    def explained(self, subject: str) -> str | None:
        """Why an INCONCLUSIVE on this subject is fine; None where it is not."""
        return self.inconclusive.get(subject) or self.inconclusive.get("*")

    def case(self, dtype: str) -> Case:
        """The case in `dtype`, its values rounded to it. With complex numbers, complex128 stands for float64 and
        complex64 for float32."""
        dtype = PRECISION.get(dtype, dtype)
        values = {name: _rounded(v, dtype) for name, v in self._drawn().items()}
        return Case(
            name=self.name,
            graph=self.graph,
            values=values,
            cotangent=tuple(_rounded(g, dtype) for g in self._cotangents()),
            dtype=dtype,
            wrt=self.wrt,
            claims=self.claims,
            function=self.function,
            vjp=self.vjp,
            expect=self.expect,
            invariants=self.invariants,
            source=Source("spec", self.file, self.line, self.seed),
        )

    def at_ends(self, dtype: str) -> list[Case]:
        """The case where entries lie at the ends of the stated domains, in turn, and the other way round.

        Empty where no domain is stated.
        """
        case = self.case(dtype)
        ends = {n: pair for n, i in self.inputs.items() if (pair := i.ends(case.dtype)) is not None}
        if not ends or is_complex(self.graph):
            return []
        cases = []
        for first in (0, 1):
            values = dict(case.values)
            for name, (lo, hi) in ends.items():
                low = np.arange(values[name].size).reshape(values[name].shape) % 2 == first
                values[name] = rounded(np.where(low, lo, hi), case.dtype)
            cases.append(replace(case, values=values))
        return cases

    def _drawn(self) -> dict[str, np.ndarray]:
        """Every input's values before rounding, float ones in float64."""
        values: dict[str, np.ndarray] = {}
        for name, i in self.inputs.items():
            key = ("gradverify", self.name, self.seed, name)
            if i.values is not None:
                values[name] = i.values
            elif i.kind == "bool":
                values[name] = draw_integers(0, 1, key, i.shape).astype(np.bool_)
            elif i.kind == "int":
                values[name] = draw_integers(*(i.bounds or (0, 0)), key, i.shape)
            elif i.kind == "complex":
                parts = (i.domain or DOMAINS["nonzero"]).parts
                real, imag = (draw(parts, (*key, part), i.shape) for part in ("real", "imag"))
                values[name] = real + 1j * imag
            else:
                domain = i.domain or DOMAINS["real"]
                v = draw(domain.parts, key, i.shape)
                values[name] = domain.shape(v) if domain.shape is not None else v
        for k in sorted(set(self.guards.values())):
            self._guard(k, values)
        return values

    def _guard(self, k: int, values: dict[str, np.ndarray]) -> None:
        """Move the drawn arguments of a structured op (a positive definite matrix) into its domain."""
        node = self.graph.nodes[k]
        assert isinstance(node, Apply)
        guard = OPS[node.op].guard
        assert guard is not None
        leaves = [self.graph.nodes[a] for a in node.args]
        arrays = [values[n.name] if isinstance(n, Input) else np.zeros(n.shape) for n in leaves]
        for leaf, moved in zip(leaves, guard(NUMPY, *arrays)):
            if isinstance(leaf, Input) and self.guards.get(leaf.name) == k:
                values[leaf.name] = np.asarray(moved, dtype=np.float64)

    def _cotangents(self) -> Iterable[np.ndarray]:
        """The cotangent of each output: given, ones for a single scalar, else drawn."""
        outputs = [self.graph.nodes[o] for o in self.graph.outputs]
        for i, (node, given) in enumerate(zip(outputs, self.cotangent)):
            key = ("gradverify", self.name, self.seed, "cotangent", i)
            if given is not None:
                yield given
            elif node.kind == "complex":
                yield signed_complex(key, node.shape)
            elif len(outputs) == 1 and node.shape == ():
                yield np.ones(())
            else:
                yield signed(key, node.shape)


def _inward(x: float, dtype: str, side: float) -> float:
    """The nearest number of `dtype` on one side of x: at or above it where `side` is 1, at or below it where it is -1."""
    near = float(to_float64(rounded(np.asarray(x), dtype)))
    if (near - x) * side < 0:
        near = float(to_float64(rounded(np.asarray(near + side * 2 * FORMATS[dtype].roundoff * abs(near)), dtype)))
    return near


def _rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    """Floating-point values in `dtype`, complex ones in the complex dtype of that precision, others as they are."""
    if values.dtype.kind == "c":
        return np.array(values, dtype=numpy_dtype(dtype, "complex"))
    return rounded(values, dtype) if is_float(values) else values.copy()
