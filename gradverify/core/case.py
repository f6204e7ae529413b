"""The case: a graph, the values of its leaves, a cotangent, a dtype, and where it all came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .graph import Graph

Array = Any  # a numpy.ndarray; this layer knows the standard library only

Expect = Literal["pass", "fail", "raises"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a case came from, for messages and for the path of a test item."""

    kind: Literal["spec", "generated", "api", "watched", "law"] = "api"
    file: str | None = None
    line: int | None = None
    seed: int | None = None

    def __str__(self) -> str:
        if self.file is not None:
            return f"{self.file}:{self.line}" if self.line else self.file
        return f"{self.kind}, seed {self.seed}" if self.seed is not None else self.kind


@dataclass(frozen=True, eq=False)
class Mixed:
    """The dtypes of a case that has several.

    widest  the widest of all
    nodes   node of the graph `of` -> the dtype that its value is computed in; what is not there has the case's
    """

    inputs: Mapping[str, str]
    outputs: tuple[str, ...]
    widest: str
    nodes: Mapping[int, str] = field(default_factory=dict)
    of: Graph | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """One question to a subject: what is the VJP of `graph` at `values` for `cotangent`, in `dtype`?

    values      input name -> numpy array; float inputs already rounded to `dtype` (they are exact from here on)
    cotangent   one array of `dtype` per output, in the output's shape
    wrt         the inputs that are differentiated; every float input where the author did not say
    claims      input name -> a graph over the same inputs (and the cotangent, as `g`, or `g0`, `g1`, … for
                several outputs, where it names it) that the author claims to be the gradient; held against the oracle too
    function    "package.module:name" of the user's own function, held against `graph` as its definition
    vjp         "package.module:name" of its backward pass, where it has none of its own
    expect      what the author expects of the subject: negative cases say "fail" or "raises"
    invariants  names of the laws to check as well
    parts       pairs of outputs that are the real and the imaginary part of one complex number
    placed      inputs whose layout in memory is as the author made it (a module's parameters), so that no other is asked
    updated     inputs that the forward pass may write to (running statistics, in the framework's sight)
    mixed       where not everything has the case's dtype: then that is the narrowest format that a value passes through

    In a graph with complex nodes `dtype` is their precision (float64 for complex128); complex values and cotangents are
    complex arrays; cotangents and claims are in PyTorch's convention, dL/d(real) + i dL/d(imag).
    """

    name: str
    graph: Graph
    values: Mapping[str, Array]
    cotangent: tuple[Array, ...]
    dtype: str
    wrt: tuple[str, ...]
    claims: Mapping[str, Graph] = field(default_factory=dict)
    function: str | None = None
    vjp: str | None = None
    expect: Expect = "pass"
    invariants: tuple[str, ...] = ()
    source: Source = Source()
    mixed: Mixed | None = None
    parts: tuple[tuple[int, int], ...] = ()
    placed: frozenset[str] = frozenset()
    updated: frozenset[str] = frozenset()

    @property
    def literal_dtype(self) -> str:
        """The dtype that float literals of the graph are rounded to."""
        return self.mixed.widest if self.mixed else self.dtype

    @property
    def formats(self) -> Mapping[int, str]:
        """Node of the graph -> the dtype that its value is computed in, where that is known; of another graph nothing is."""
        return self.mixed.nodes if self.mixed and self.mixed.of is self.graph else {}

    def dtype_of(self, name: str) -> str:
        """Of an input, and so of its gradient."""
        return self.mixed.inputs.get(name, self.dtype) if self.mixed else self.dtype

    def output_dtype(self, i: int) -> str:
        return self.mixed.outputs[i] if self.mixed else self.dtype
