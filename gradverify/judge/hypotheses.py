"""Hypotheses about a wrong gradient: what would a backward pass with a certain mistake have given?

After a FAIL each hypothesis predicts the gradients of such a backward pass from the case alone: the op table's texts, run
in doubles with one thing changed. What agrees with the subject's answer in every entry, where the truth does not, names
the mistake. A prediction is no verdict: that stands already.

Tolerance.  A subject that makes the mistake rounds as well. The prediction is rerun with nudges, as the budget is, and an
entry may differ by b + SAFETY·(rms(rerun - prediction) + u·|prediction|): b is the entry's own budget, which has the moves
of the inputs in it; the distances hold the rounding of the prediction in doubles.

Chance.  An unrelated prediction comes within t of an entry that is off by e with a probability of about t/e, and of all
failing entries with the product. COINCIDENCES bounds that product times the number of predictions that were tried, so
that one entry in bfloat16 names nothing, and one in float64 may.

Cost.  A walk costs the entries of its nodes, ENTRIES_PER_NODE at least. What lies beyond WORK and SECONDS is not tried.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from ..core.case import Case
from ..core.errors import ShapeError, UnknownName, Unsupported
from ..core.graph import Apply, Constant, Graph, Input, Node, evaluate
from ..core.op import OpSpec
from ..frameworks.base import Observation
from ..namespaces.dtypes import FORMATS, FloatFormat, is_float, rounded, to_float64
from ..namespaces.kernels import ELEMENTWISE
from ..namespaces.nudged import Noise, NudgedNamespace
from ..namespaces.numpy import NUMPY
from ..namespaces.run import constant_array, forward, needed, reverse
from ..ops import OPS
from ..ops.build import GraphBuilder, Recorder, Ref, lowered
from .budget import RERUNS, SAFETY
from .compare import Compared
from .reference import Reference

COINCIDENCES = 1e-3
"""The expected number of predictions that agree by chance, at most."""

WORK = 30_000_000
"""Array entries that all walks of one case may go over: about a second."""

ENTRIES_PER_NODE = 1000
"""A NumPy call costs as much as that many entries."""

SECONDS = 2.0

Arrays = Mapping[str, Any]
Change = Callable[[list[Any]], Any]

Edge = tuple[int, int]
"""A node, and which of its arguments."""


@dataclass(frozen=True, eq=False)
class Guess:
    """One prediction.

    text     what is said if it holds; `{}` stands for the arrays and the verb ("dx is")
    predict  the wrong gradients, from a walk: asked again on nudged walks
    tries    how many values of a constant were tried to make it
    free     whether a constant was fitted without any such choice: one entry then says nothing
    chance   logarithm of the probability that it agrees by chance, where the distances do not tell
    """

    text: str
    predict: Callable[[Walk], Arrays]
    tries: int = 1
    free: bool = False
    chance: float | None = None


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A kind of mistake: its name, its description for the documentation, and its predictions at a case.

    `last`: it is tried where no other one holds, since it holds wherever a simpler one does.
    """

    name: str
    sentence: str
    predict: Callable[[Evidence], Iterator[Guess]]
    last: bool = False


HYPOTHESES: list[Hypothesis] = []
"""All hypotheses, the simplest first: the first one that holds is reported."""


def hypothesis(
    name: str, sentence: str, last: bool = False
) -> Callable[[Callable[[Evidence], Iterator[Guess]]], Hypothesis]:
    """Append the decorated predictions to HYPOTHESES."""

    def declare(predict: Callable[[Evidence], Iterator[Guess]]) -> Hypothesis:
        HYPOTHESES.append(Hypothesis(name, sentence, predict, last))
        return HYPOTHESES[-1]

    return declare


@dataclass(frozen=True)
class Explanation:
    """What is said of a FAIL: the name of a hypothesis, a sentence, and the names of others that fit as well."""

    name: str
    text: str
    others: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "text": self.text, "others": list(self.others)}


class _Spent(Exception):
    """The walks have cost what they may."""


class _Purse:
    """The work that is left."""

    def __init__(self) -> None:
        self.left, self.end = WORK, time.perf_counter() + SECONDS

    def pay(self, graph: Graph) -> None:
        self.left -= sum(max(math.prod(n.shape), ENTRIES_PER_NODE) for n in graph.nodes if isinstance(n, Apply))
        if self.left < 0 or time.perf_counter() > self.end:
            raise _Spent


class Evidence:
    """What was seen at a case: for each gradient in question the answer, the truth, the budget, and what fails.

    names    the gradients in question: those of the failing arrays
    tried    how many predictions were made
    walks    the nudged walks so far, by dtype
    """

    def __init__(self, case: Case, seen: Observation, ref: Reference, compared: Sequence[Compared], seed: int) -> None:
        self.case, self.seed, self.purse = case, seed, _Purse()
        self.format: FloatFormat = FORMATS[case.dtype]
        self.flat = lowered(case.graph)
        self.dead = ref.truth.dead
        self.got = {n: self._answer(seen.gradients.get(n), ref.truth.gradients[n].shape) for n in case.wrt}
        self.want = {n: ref.truth.gradients[n].resolved for n in case.wrt}
        self.budget = dict(ref.budget.gradients)
        found = {c.comparison.of[1:]: c for c in compared if c.comparison.of.startswith("d")}
        self.failing = {n: found[n].failing for n in case.wrt}
        self.passing = {n: found[n].passing for n in case.wrt}
        self.names = tuple(n for n in case.wrt if self.failing[n].any())
        self.tried = 0
        self.walks: dict[str, list[Walk]] = {}

    @staticmethod
    def _answer(got: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
        return np.zeros(shape) if got is None else to_float64(got)

    def about(self, name: str) -> Evidence:
        """The evidence of one gradient alone; walks and their costs are shared."""
        part: Evidence = object.__new__(Evidence)
        part.__dict__.update(self.__dict__, names=(name,))
        return part

    @cached_property
    def plain(self) -> Walk:
        """The walk in doubles."""
        return Walk(self, NUMPY)

    def nudged(self, dtype: str) -> list[Walk]:
        """Walks that round as the dtype may."""
        if dtype not in self.walks:
            nudges = FORMATS[dtype]
            self.walks[dtype] = [Walk(self, NudgedNamespace(Noise(nudges)), (self.seed, k)) for k in range(RERUNS // 2)]
        return self.walks[dtype]

    @cached_property
    def edges(self) -> list[Edge]:
        """The edges that a cotangent takes, outputs first."""
        needs, walked = needed(self.flat, self.case.wrt), self.plain.adjoint
        return [
            (k, i)
            for k in sorted(walked, reverse=True)
            for node in [self.flat.nodes[k]]
            if isinstance(node, Apply)
            for i, a in enumerate(node.args)
            if a in needs and OPS[node.op].differentiable(i)
        ]

    def node(self, k: int) -> Apply:
        node = self.flat.nodes[k]
        assert isinstance(node, Apply)
        return node

    @cached_property
    def numbers(self) -> list[str | None]:
        """Node of the lowered graph -> how messages call it; None inside a composite op."""
        graph = self.case.graph
        every = lowered(Graph(graph.nodes, tuple(range(len(graph.nodes)))))
        names: list[str | None] = [None] * len(every.nodes)
        for k, at in enumerate(every.outputs):
            names[at] = graph.label(k)
        return names

    def call(self, k: int) -> str:
        """A node of the lowered graph as readers of the message find it in the graph that is printed."""
        graph = self.case.graph
        inside = next((c for c in range(k, len(self.numbers)) if self.numbers[c] is not None), k)
        label = self.numbers[inside]
        parts = self.case.parts or any(n.endswith((".real", ".imag")) for n in self.case.wrt)
        if parts or label is None or not label.startswith("%"):
            return f"{self.node(k).op} of shape {list(self.node(k).shape)}"  # the graph that is printed is another one
        whole = graph.call(int(label[1:]))
        return f"{label} = {whole}" if inside == k else f"the {self.node(k).op} in {label} = {whole}"

    def label(self, k: int) -> str:
        """An input by its name, an op as `call` has it."""
        return self.call(k) if isinstance(self.flat.nodes[k], Apply) else self.flat.label(k)

    def edge_text(self, edge: Edge) -> str:
        """An edge; its argument is named where the node has several that carry a cotangent."""
        k, i = edge
        several = sum(e[0] == k for e in self.edges) > 1
        return f"{self.call(k)}" + (f", argument {i + 1}" if several else "")

    def title(self) -> str:
        """The arrays in question, and the verb."""
        labels = [f"d{n}" for n in self.names]
        if len(labels) == 1:
            return f"{labels[0]} is"
        return f"{', '.join(labels[:-1])} and {labels[-1]} are"

    def failing_pairs(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Answer, truth and budget of each array in question."""
        return ((self.got[n], self.want[n], self.budget[n]) for n in self.names)


class Walk:
    """A walk of the lowered graph, forward and in reverse, in doubles or with nudges."""

    def __init__(self, evidence: Evidence, xp: Any, seed: tuple[int, int] | None = None) -> None:
        self.e, self.xp, self.nudged = evidence, xp, seed is not None
        if seed is not None:
            xp.noise.restart(seed)
        evidence.purse.pay(evidence.flat)
        case = evidence.case
        self.inputs = {n: xp.asarray(to_float64(v)) if is_float(v) else v for n, v in case.values.items()}
        self.values = forward(xp, evidence.flat, self.inputs, case.literal_dtype)
        self.cotangent = [xp.asarray(to_float64(g)) for g in case.cotangent]
        self.adjoint = self._reverse(evidence.flat, self.cotangent)
        self._through: dict[Edge, Arrays] = {}

    def _reverse(self, graph: Graph, cotangent: Sequence[Any], values: Any = None, **how: Any) -> dict[int, Any]:
        self.e.purse.pay(graph)
        of = self.values if values is None else values
        return reverse(self.xp, graph, of, cotangent, self.e.case.wrt, dead=self.e.dead, **how)

    def _of_inputs(self, adjoint: Mapping[int, Any]) -> dict[str, np.ndarray]:
        inputs = self.e.flat.inputs
        return {
            n: np.asarray(adjoint[inputs[n]], dtype=np.float64) if inputs[n] in adjoint else np.zeros(w.shape)
            for n, w in self.e.want.items()
        }

    @cached_property
    def right(self) -> Arrays:
        """The right gradients: the truth, or what the nudges make of them."""
        return self._of_inputs(self.adjoint) if self.nudged else self.e.want

    def given(self, cotangent: Sequence[Any]) -> Arrays:
        """The gradients for other cotangents."""
        return self._of_inputs(self._reverse(self.e.flat, [self.xp.asarray(g) for g in cotangent]))

    def without(self, nodes: frozenset[int]) -> Arrays:
        """The gradients where some nodes pass nothing on."""
        return self._of_inputs(self._reverse(self.e.flat, self.cotangent, without=nodes))

    def saved(self, k: int, value: np.ndarray) -> Arrays:
        """The gradients where the reverse pass reads another value for a node."""
        values = list(self.values)
        values[k] = self.xp.asarray(value)
        return self._of_inputs(self._reverse(self.e.flat, self.cotangent, values))

    def at(self, values: Mapping[str, np.ndarray]) -> Arrays:
        """The gradients where some inputs have other values, in both passes."""
        self.e.purse.pay(self.e.flat)
        given = dict(self.inputs) | {n: self.xp.asarray(v) for n, v in values.items()}
        nodes = forward(self.xp, self.e.flat, given, self.e.case.literal_dtype)
        return self._of_inputs(self._reverse(self.e.flat, self.cotangent, nodes))

    def from_node(self, k: int, g: Any) -> Arrays:
        """What a cotangent of a node adds to the gradients."""
        return self._of_inputs(self._reverse(Graph(self.e.flat.nodes, (k,)), [self.xp.asarray(g)]))

    def sent(self, edge: Edge, replace_args: Mapping[int, Any] | None = None) -> Any:
        """The cotangent along an edge; with other values for some arguments of the node."""
        k, i = edge
        node, args = self.e.node(k), [self.values[a] for a in self.e.node(k).args]
        for j, value in (replace_args or {}).items():
            args[j] = value
        mask = self.e.dead.get(k) if node.op in ELEMENTWISE and not replace_args else None
        spec: OpSpec = OPS[node.op]
        return spec.cotangent(self.xp, i, self.adjoint[k], self.values[k], tuple(args), dict(node.params), mask)

    def through(self, edge: Edge) -> Arrays:
        """The part of the gradients that comes along an edge."""
        if edge not in self._through:
            self._through[edge] = self.from_node(self.e.node(edge[0]).args[edge[1]], self.sent(edge))
        return self._through[edge]

    def plus(self, factor: float, *parts: Arrays) -> Arrays:
        """The right gradients, and `factor` times each of some parts."""
        return {n: self.right[n] + factor * sum(p[n] for p in parts) for n in self.e.names}

    def argument(self, edge: Edge) -> Any:
        """The value of the argument at an edge."""
        return self.values[self.e.node(edge[0]).args[edge[1]]]

    def unsummed(self, edge: Edge) -> Any:
        """The cotangent along an edge before it is summed to the argument's shape."""
        return self.sent(edge, {edge[1]: self.xp.broadcast_to(self.argument(edge), self.e.node(edge[0]).shape)})

    def moved(self, edge: Edge, a: int, g: Any) -> Arrays:
        """The gradients with nothing along an edge, and a further cotangent of another node."""
        more, less = self.from_node(a, g), self.through(edge)
        return self.plus(1.0, {n: more[n] - less[n] for n in more})

    def read(self, edge: Edge, text: Graph, changed: Apply, change: Change) -> Any:
        """The cotangent along an edge by a recorded VJP text, with another result of one of its nodes."""
        node = self.e.node(edge[0])
        of = {"g": self.adjoint[edge[0]], "out": self.values[edge[0]]}
        of |= {"xyzabcdefh"[j]: self.values[a] for j, a in enumerate(node.args)}

        def apply(n: Apply, args: list[Any]) -> Any:
            if n is changed:
                found = change(args)
                smaller = math.prod(np.shape(found)) < math.prod(n.shape)
                return self.xp.broadcast_to(self.xp.asarray(found), n.shape) if smaller else found
            return OPS[n.op].define(self.xp, *args, **dict(n.params))

        def constant(n: Constant) -> Any:
            value = constant_array(n, "float64")
            return self.xp.asarray(value) if n.kind == "float" else value

        return evaluate(text, leaf=lambda n: of[n.name], constant=constant, apply=apply)[text.outputs[0]]

    def instead(self, edge: Edge, g: Any) -> Arrays:
        """The gradients with another cotangent along an edge."""
        a = self.e.node(edge[0]).args[edge[1]]
        if math.prod(np.shape(g)) > math.prod(self.e.flat.nodes[a].shape):
            return self.right  # it has another shape, and no such answer was seen
        return self.plus(1.0, self.from_node(a, g - self.sent(edge)))


# ---- constants ------------------------------------------------------------------------------------------------------

CONSTANTS = {
    "pi": math.pi, "1/pi": 1 / math.pi, "2 pi": 2 * math.pi, "1/(2 pi)": 0.5 / math.pi, "ln 2": math.log(2),
    "1/ln 2": 1 / math.log(2), "ln 10": math.log(10), "1/ln 10": 1 / math.log(10), "sqrt(2)": math.sqrt(2),
    "1/sqrt(2)": math.sqrt(0.5), "sqrt(pi)": math.sqrt(math.pi), "1/sqrt(pi)": 1 / math.sqrt(math.pi),
    "2/sqrt(pi)": 2 / math.sqrt(math.pi), "sqrt(pi)/2": math.sqrt(math.pi) / 2, "sqrt(2 pi)": math.sqrt(2 * math.pi),
    "1/sqrt(2 pi)": 1 / math.sqrt(2 * math.pi), "sqrt(2/pi)": math.sqrt(2 / math.pi),
    "sqrt(pi/2)": math.sqrt(math.pi / 2), "e": math.e, "1/e": 1 / math.e, "180/pi": 180 / math.pi, "pi/180": math.pi / 180,
}  # fmt: skip
"""Factors that formulas have, or lose."""

_LARGEST = 12
"""Of numerator and denominator: up to there people write fractions."""


def _fractions() -> dict[str, float]:
    found = {Fraction(p, q) for p in range(1, _LARGEST + 1) for q in range(1, _LARGEST + 1)} - {Fraction(1)}
    ordered = sorted(found, key=lambda f: (f.numerator + f.denominator, f))
    return {str(f): float(f) for f in ordered}


FRACTIONS = _fractions()


def counts(e: Evidence) -> dict[int, str]:
    """The numbers of entries that the graph's reductions and broadcasts go over -> where."""
    found: dict[int, str] = {}
    for k in sorted(e.flat.active, reverse=True):
        node = e.flat.nodes[k]
        if not isinstance(node, Apply):
            continue
        size = math.prod(node.shape)
        for a in node.args:
            inner = math.prod(e.flat.nodes[a].shape)
            reduces = dict(node.params).keys() & {"axis", "axes"} and size and inner % size == 0 and inner > size
            spreads = OPS[node.op].broadcasts and inner and size % inner == 0 and size > inner
            if reduces or spreads:
                found.setdefault(inner // size if reduces else size // inner, f"the entries of {e.call(k)}")
    return found


def nice(e: Evidence) -> list[tuple[float, str]]:
    """The factors that have a name, the simplest first, and what they are."""
    values: list[tuple[float, str]] = [(-1.0, "-1: its sign is flipped"), (2.0, "2"), (0.5, "1/2")]
    for n, where in counts(e).items():
        values.append((float(n), f"{n}, as of a sum for a mean over {where}"))
        values.append((1.0 / n, f"1/{n}, as of a mean for a sum over {where}"))
        values += [(math.sqrt(n), f"sqrt({n}), of {where}"), (1 / math.sqrt(n), f"1/sqrt({n}), of {where}")]
    for table in (FRACTIONS, CONSTANTS):
        values += [(sign * v, ("-" if sign < 0 else "") + name) for name, v in table.items() for sign in (1.0, -1.0)]
    return values


def factors(e: Evidence, part: Arrays) -> tuple[float, float] | None:
    """The interval of c for which truth + (c - 1)·part is the answer, within twice the budget; None for no c.

    Twice, since the answer rounds as the truth does, and the part as well.
    """
    low, high = -math.inf, math.inf
    for n in e.names:
        got, want, b, p = e.got[n], e.want[n], e.budget[n], part[n]
        use = np.isfinite(b) & np.isfinite(got)
        with np.errstate(all="ignore"):
            c = 1.0 + (got - want) / p
            # A c of hundreds makes errors of hundreds.
            width = 2 * (b + SAFETY * e.format.roundoff * np.abs(got)) * np.maximum(1.0, np.abs(c)) / np.abs(p)
        moves = use & (p != 0) & np.isfinite(c) & np.isfinite(width)
        if (use & ~moves & e.failing[n]).any() or not moves.any():
            return None
        low, high = max(low, float((c - width)[moves].max())), min(high, float((c + width)[moves].min()))
    return (low, high) if low <= high else None


def named_factor(e: Evidence, span: tuple[float, float]) -> tuple[float, str, int] | None:
    """The simplest named factor within the interval; its text; and how many were tried until then."""
    for tries, (value, text) in enumerate(nice(e), 1):
        if span[0] <= value <= span[1]:
            return value, text, tries
    return None


# ---- the hypotheses -------------------------------------------------------------------------------------------------


@hypothesis(
    "factor", "The gradient is the right one times a constant: -1, p/q, pi, ln 2, the n of an axis, its inverse."
)
def _factor(e: Evidence) -> Iterator[Guess]:
    span = factors(e, e.want)
    if span is None:
        return
    named = named_factor(e, span)
    if named:
        c, text, tries = named
        yield Guess("{} the right gradient times " + text, lambda w: {n: c * w.right[n] for n in e.names}, tries)
        return
    middle = (span[0] + span[1]) / 2
    if abs(middle) > 2 * (span[1] - span[0]):
        text = f"{{}} the right gradient times {middle:.6g} in every entry"
        yield Guess(text, lambda w: {n: middle * w.right[n] for n in e.names}, free=True)


@hypothesis("swapped arguments", "The gradients of two arguments are exchanged, or one stands for the other.")
def _swapped(e: Evidence) -> Iterator[Guess]:
    for a, b in combinations(e.case.wrt, 2):
        if e.want[a].shape != e.want[b].shape:
            continue
        other = {a: b, b: a}
        if not set(e.names) <= {a, b}:
            continue
        both = len(e.names) == 2
        text = f"those of {b} and {a}: they are exchanged" if both else f"that of {other[e.names[0]]}"
        yield Guess(f"{{}} {text}", lambda w, other=other: {n: w.right[other[n]] for n in e.names})


@hypothesis("transposed", "The gradient is transposed in its last two axes, or all of its axes are reversed.")
def _transposed(e: Evidence) -> Iterator[Guess]:
    if all(e.want[n].ndim >= 2 and e.want[n].shape[-1] == e.want[n].shape[-2] for n in e.names):
        yield Guess(
            "{} the right gradient, transposed", lambda w: {n: np.swapaxes(w.right[n], -1, -2) for n in e.names}
        )
    if all(e.want[n].ndim >= 3 and e.want[n].shape == e.want[n].shape[::-1] for n in e.names):
        yield Guess("{} the right gradient with its axes reversed", lambda w: {n: w.right[n].T for n in e.names})


_REPLACED: Mapping[str, tuple[str, Callable[[np.ndarray], Any]]] = {
    "ones": ("with ones for the cotangent: it is ignored", np.ones_like),
    "sign": ("with the cotangent's sign in its place", np.sign),
    "abs": ("with the cotangent's absolute value in its place", np.abs),
    "mean": ("with the cotangent's mean in its place", lambda g: np.full(g.shape, g.mean())),
    "sum": ("with the cotangent's sum in its place", lambda g: np.full(g.shape, g.sum())),
    "first": ("with the cotangent's first entry in place of all", lambda g: np.full(g.shape, g.ravel()[0])),
    "square": ("with the cotangent multiplied twice", lambda g: g * g),
}


@hypothesis(
    "cotangent", "The cotangent is ignored, or its sign, absolute value, mean, sum, first entry or square is used."
)
def _cotangent(e: Evidence) -> Iterator[Guess]:
    given = [to_float64(g) for g in e.case.cotangent]
    if any(g.size == 0 for g in given):
        return
    for text, change in _REPLACED.values():
        other = [np.asarray(change(g), dtype=np.float64) for g in given]
        if all(np.array_equal(a, b) for a, b in zip(other, given)):
            continue
        yield Guess(f"{{}} what it would be {text}", lambda w, other=other: w.given(other))


@hypothesis("cotangents", "The cotangents of two outputs are exchanged, one is ignored, or one is used alone.")
def _cotangents(e: Evidence) -> Iterator[Guess]:
    given = [to_float64(g) for g in e.case.cotangent]
    if len(given) < 2:
        return
    for i, j in combinations(range(len(given)), 2):
        if given[i].shape == given[j].shape:
            other = list(given)
            other[i], other[j] = given[j], given[i]
            text = f"{{}} what it would be with the cotangents of out{i} and out{j} exchanged"
            yield Guess(text, lambda w, other=other: w.given(other))
    for i in range(len(given)):
        other = [0 * g if k == i else g for k, g in enumerate(given)]
        yield Guess(
            f"{{}} what it would be with the cotangent of out{i} ignored (0)", lambda w, other=other: w.given(other)
        )
        if len(given) > 2:
            alone = [g if k == i else 0 * g for k, g in enumerate(given)]
            text = f"{{}} what it would be with the cotangent of out{i} alone"
            yield Guess(text, lambda w, alone=alone: w.given(alone))


@hypothesis("zero", "The gradient is zero: nothing reaches the argument.")
def _zero(e: Evidence) -> Iterator[Guess]:
    yield Guess("{} zero in every entry: nothing reaches it", lambda w: {n: 0.0 * w.right[n] for n in e.names})


@hypothesis("clipped", "Every entry is clipped to [-c, c].")
def _clipped(e: Evidence) -> Iterator[Guess]:
    c = max(float(np.max(np.abs(g), initial=0.0)) for g, _, _ in e.failing_pairs())
    if c and np.isfinite(c):
        text = f"{{}} the right gradient, clipped to [-{c:.6g}, {c:.6g}]"
        known = any(abs(c - round(c * s) / s) <= 2 * e.format.roundoff * c for s in (1, 2, 4, 10, 100))
        tries = 100 if known else 1
        yield Guess(text, lambda w: {n: np.clip(w.right[n], -c, c) for n in e.names}, tries, free=not known)


@hypothesis("left out", "Some entries are 0, as memory that nobody writes is, and all others are right.")
def _left_out(e: Evidence) -> Iterator[Guess]:
    zero = {n: (e.got[n] == 0) & e.failing[n] for n in e.names}
    if all((zero[n] == e.failing[n]).all() and not e.failing[n].all() for n in e.names):
        where = "; ".join(f"d{n}{_box(zero[n])}" for n in e.names)
        yield Guess(
            f"{{}} right but for entries that are 0: {where}",
            lambda w: {n: np.where(zero[n], 0.0, w.right[n]) for n in e.names},
            # Any set of entries could have been the one: the failing ones choose it.
            tries=1 << min(sum(int(z.sum()) for z in zero.values()), 60),
        )


def _box(mask: np.ndarray) -> str:
    """The smallest slice that holds the entries of a mask, and how many there are in it."""
    at = np.argwhere(mask)
    low, high = at.min(axis=0), at.max(axis=0)
    slices = ", ".join(str(a) if a == b else f"{a}:{b + 1}" for a, b in zip(low, high))
    return f"[{slices}] ({len(at)} of them)" if len(at) < math.prod(high - low + 1) else f"[{slices}]"


@hypothesis(
    "term", "The term that comes through a node is missing, counted twice, has the wrong sign or a wrong factor."
)
def _term(e: Evidence) -> Iterator[Guess]:
    for parts, where in _terms(e):
        part = {n: sum(e.plain.through(p)[n] for p in parts) for n in e.names}
        if all(np.allclose(part[n], e.want[n], rtol=math.sqrt(e.format.roundoff), atol=0) for n in e.names):
            continue  # it is all of the gradient: a factor of it is one of the whole
        e.tried += 1
        span = factors(e, part)
        if span is None or span[0] <= 1 <= span[1]:
            continue
        if span[0] <= 0 <= span[1]:
            c, what, tries = 0.0, "without the term that comes through {}", 1
        else:
            named = named_factor(e, span)
            if named is None:
                continue
            c, text, tries = named
            what = {
                -1.0: "with the wrong sign of the term that comes through {}",
                2.0: "with the term that comes through {} counted twice",
            }.get(c, f"with the term that comes through {{}} times {text}")
        yield Guess(
            "{} what it would be " + what.replace("{}", where),
            lambda w, parts=parts, c=c: w.plus(c - 1, *(w.through(p) for p in parts)),
            tries + 1,
        )


def _terms(e: Evidence) -> Iterator[tuple[tuple[Edge, ...], str]]:
    """The edges by themselves, then all edges of a node together.

    Of a chain every edge has the same part. People know a term by its reduction or product, so that those come first.
    """
    for edge in sorted(e.edges, key=lambda edge: e.node(edge[0]).op in ELEMENTWISE):
        yield (edge,), e.edge_text(edge)
    for k in dict.fromkeys(k for k, _ in e.edges):
        mine = tuple(edge for edge in e.edges if edge[0] == k)
        if len(mine) > 1:
            yield mine, e.call(k)


_MASKS = frozenset("where relu clip maximum minimum max min abs leaky_relu relu6 hardtanh tril triu".split())


@hypothesis("straight through", "The derivative of an op is replaced by 1; of a mask or a clamp: it is ignored.")
def _straight(e: Evidence) -> Iterator[Guess]:
    for k, i in e.edges:
        node = e.node(k)
        if e.flat.nodes[node.args[i]].shape == node.shape:
            what = "with the mask ignored of" if node.op in _MASKS else "with 1 for the derivative of"
            text = f"{{}} what it would be {what} {e.edge_text((k, i))}"
            yield Guess(text, lambda w, k=k, i=i: w.instead((k, i), w.adjoint[k]))


@hypothesis(
    "read at the result", "The derivative of an op is taken at its result, as if that had been saved for its argument."
)
def _at_result(e: Evidence) -> Iterator[Guess]:
    for k, i in e.edges:
        node = e.node(k)
        if e.flat.nodes[node.args[i]].shape == node.shape and node.op in ELEMENTWISE and len(node.args) == 1:
            text = f"{{}} what it would be with the derivative of {e.call(k)} taken at its result"
            yield Guess(text, lambda w, k=k, i=i: w.instead((k, i), w.sent((k, i), {i: w.values[k]})))


@hypothesis("not transposed", "A matrix product's cotangent is multiplied by the other matrix without transposing it.")
def _not_transposed(e: Evidence) -> Iterator[Guess]:
    for k, i in e.edges:
        node = e.node(k)
        if node.op not in ("matmul", "solve") or len(node.args) != 2:
            continue
        j = 1 - i if node.op == "matmul" else 0
        shape = e.flat.nodes[node.args[j]].shape
        if len(shape) >= 2 and shape[-1] == shape[-2]:
            text = f"{{}} what it would be without the transpose of {e.label(node.args[j])} in the VJP of {e.call(k)}"
            yield Guess(
                text,
                lambda w, k=k, i=i, j=j: w.instead(
                    (k, i), w.sent((k, i), {j: np.swapaxes(w.argument((k, j)), -1, -2)})
                ),
            )


@hypothesis(
    "reduction", "A broadcast argument's cotangent is not summed, is summed over another axis, or one slice is used."
)
def _reduction(e: Evidence) -> Iterator[Guess]:
    for k, i in e.edges:
        node = e.node(k)
        shape = e.flat.nodes[node.args[i]].shape
        if not OPS[node.op].broadcasts or shape == node.shape:
            continue
        where = e.edge_text((k, i))
        for what, reduce in (("the first slice", 0), ("the last slice", -1)):
            text = f"{{}} what it would be with {what} for the sum over the broadcast axes of {where}"
            yield Guess(
                text, lambda w, k=k, i=i, at=reduce, to=shape: w.instead((k, i), _slice(w.unsummed((k, i)), to, at))
            )
        for axis in _other_axes(node.shape, shape):
            text = f"{{}} what it would be with the sum over axis {axis} for that over the broadcast axes of {where}"
            yield Guess(
                text,
                lambda w, k=k, i=i, axis=axis, to=shape: w.instead(
                    (k, i), np.reshape(np.sum(w.unsummed((k, i)), axis=axis), to)
                ),
            )
        inner = e.flat.nodes[node.args[i]]
        if isinstance(inner, Apply) and inner.op in ("sum", "mean") and e.flat.nodes[inner.args[0]].shape == node.shape:
            scale = 1.0 if inner.op == "sum" else math.prod(shape) / math.prod(node.shape)
            text = f"{{}} what it would be without the sum over the broadcast axes of {where}"
            yield Guess(text, lambda w, k=k, i=i, a=inner.args[0], s=scale: w.moved((k, i), a, s * w.unsummed((k, i))))


def _slice(x: Any, shape: tuple[int, ...], at: int) -> Any:
    """One entry along each axis that a broadcast added or widened."""
    extra = x.ndim - len(shape)
    index = tuple(at if k < extra else slice(None) for k in range(x.ndim))
    x = x[index]
    for k, n in enumerate(shape):
        if n == 1 and x.shape[k] != 1:
            x = np.take(x, [at if at == 0 else x.shape[k] - 1], axis=k)
    return x


def _other_axes(wide: tuple[int, ...], narrow: tuple[int, ...]) -> Iterator[int]:
    """The single axes whose sum has as many entries in the same order of lengths, but for the right ones."""
    lengths = [n for n in narrow if n != 1]
    padded = (1,) * (len(wide) - len(narrow)) + narrow
    right = [k for k, (a, b) in enumerate(zip(wide, padded)) if a != b]
    for axis in range(len(wide)):
        if [axis] != right and [n for k, n in enumerate(wide) if k != axis and n != 1] == lengths:
            yield axis


@hypothesis(
    "rule", "One operation of an op's VJP is left out or is another: its sum, a mean for the sum, a factor, a sign."
)
def _rule(e: Evidence) -> Iterator[Guess]:
    for edge in e.edges:
        text = _record(e, edge)
        for node in text.nodes if text else ():
            if isinstance(node, Apply) and node.kind == "float":
                for what, change in _changes(text, node):
                    said = f"{{}} what it would be {what} in the VJP of {e.edge_text(edge)}"
                    yield Guess(said, lambda w, at=edge, t=text, n=node, c=change: w.instead(at, w.read(at, t, n, c)))


def _record(e: Evidence, edge: Edge) -> Graph | None:
    """An op's VJP text for an argument as a graph over g, out and the arguments; None where it cannot be recorded."""
    k, i = edge
    node = e.node(k)
    builder = GraphBuilder()
    try:
        g, out = (Ref(builder, builder.input(n, node.shape)) for n in ("g", "out"))
        args = []
        for j, a in enumerate(node.args):
            inner = e.flat.nodes[a]
            args.append(Ref(builder, builder.input("xyzabcdefh"[j], inner.shape, inner.kind)))
        c = OPS[node.op].cotangent(Recorder(builder), i, g, out, tuple(args), dict(node.params))
        return lowered(builder.graph(c.index))
    except (AttributeError, ShapeError, UnknownName, Unsupported, IndexError, TypeError, ValueError):
        return None


def _changes(text: Graph, node: Apply) -> Iterator[tuple[str, Change]]:
    """What a node of a VJP text may have been instead: in words, and its result from its arguments."""
    params, op = dict(node.params), node.op
    first = text.nodes[node.args[0]].shape if node.args else ()
    whole, parts = _readable(text, node), [_readable(text, text.nodes[a]) for a in node.args]
    if op in ("sum", "mean"):
        n = math.prod(first) / max(math.prod(node.shape), 1)
        words, scale = ("a mean", 1.0 / n) if op == "sum" else ("a sum", n)
        yield f"with {parts[0]} for {whole}", lambda a: a[0]
        yield f"with {words} for {whole}", lambda a: OPS[op].define(NUMPY, a[0], **params) * scale
    elif op in ("add", "subtract"):
        yield f"without {parts[1]} in {whole}", lambda a: a[0]
        yield f"without {parts[0]} in {whole}", lambda a: a[1] if op == "add" else -a[1]
        yield f"with the other sign in {whole}", lambda a: a[0] - a[1] if op == "add" else a[0] + a[1]
    elif op in ("multiply", "divide"):
        yield f"without {parts[1]} in {whole}", lambda a: a[0]
        yield f"without {parts[0]} in {whole}", lambda a: a[1] if op == "multiply" else 1.0 / a[1]
        yield (
            f"with the inverse of {parts[1]} in {whole}",
            lambda a: a[0] / a[1] if op == "multiply" else a[0] * a[1],
        )
    elif op == "where":
        yield f"with {parts[1]} for {whole}", lambda a: a[1]
        yield f"with {parts[2]} for {whole}", lambda a: a[2]
    elif len(node.args) == 1 and first == node.shape and (op in ELEMENTWISE or op == "matrix_transpose"):
        yield f"with {parts[0]} for {whole}", lambda a: a[0]


_SIGNS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}


def _readable(text: Graph, node: Node, depth: int = 3, inner: bool = False) -> str:
    """A node of a VJP text in the names g, out, x, y, written out."""
    if isinstance(node, Input):
        return node.name
    if isinstance(node, Constant):
        return repr(node.value)
    if not depth:
        return "…"
    parts = [_readable(text, text.nodes[a], depth - 1, node.op in _SIGNS) for a in node.args]
    if node.op in _SIGNS:
        said = f"{parts[0]} {_SIGNS[node.op]} {parts[1]}"
        return f"({said})" if inner else said
    return f"{node.op}({', '.join(parts)})"


@hypothesis(
    "two terms",
    "The terms that come through two nodes are missing together, as those of a mean and a variance.",
    last=True,
)
def _two_terms(e: Evidence) -> Iterator[Guess]:
    nodes = list(dict.fromkeys(k for k, _ in e.edges))
    for pair in combinations(nodes, 2):
        text = f"{{}} what it would be without the terms that come through {e.call(pair[0])} and {e.call(pair[1])}"
        yield Guess(text, lambda w, pair=pair: w.without(frozenset(pair)))


NARROWER = {"float64": ("float32", "bfloat16", "float16"), "float32": ("bfloat16", "float16")}


@hypothesis("narrower dtype", "The gradient, a saved value or a cotangent has been rounded to a narrower dtype.")
def _narrow(e: Evidence) -> Iterator[Guess]:
    for narrow in NARROWER.get(e.case.dtype, ()):
        if _is_computed_in(e, narrow):
            bits = math.log(FORMATS[narrow].roundoff / e.format.roundoff)
            yield Guess(
                f"{{}} computed in {narrow}, or rounded to it: its entries are all numbers of {narrow}",
                lambda w: {n: e.got[n] for n in e.names},
                chance=-bits * sum(int(e.failing[n].sum()) for n in e.names),
            )
        yield Guess(
            f"{{}} the right gradient, rounded to {narrow}",
            lambda w, narrow=narrow: {
                n: _cast(e.want[n], narrow) if not w.nudged else _near(e, n, narrow) for n in e.names
            },
        )
        for k in sorted(e.flat.active):
            value = e.plain.values[k]
            if e.flat.nodes[k].kind == "float" and not np.array_equal(value, _cast(value, narrow)):
                label = e.label(k)
                text = f"{{}} what it would be with {label} saved in {narrow}"
                low = _cast(value, narrow)
                yield Guess(text, lambda w, k=k, low=low: w.saved(k, low))
        for k, g in e.plain.adjoint.items():
            lost = _cast(g, narrow) - np.asarray(g)
            if lost.any():
                text = f"{{}} what it would be with the cotangent of {e.label(k)} rounded to {narrow}"
                yield Guess(text, lambda w, k=k, lost=lost: w.plus(1.0, w.from_node(k, lost)))
        inputs = {n: _cast(v, narrow) for n, v in e.case.values.items() if is_float(v)}
        for n, low in inputs.items():
            if not np.array_equal(low, to_float64(e.case.values[n])):
                text = f"{{}} what it would be at {n} rounded to {narrow}"
                yield Guess(text, lambda w, n=n, low=low: w.at({n: low}))
        yield Guess(f"{{}} what it would be with all inputs rounded to {narrow}", lambda w, at=inputs: w.at(at))


def _is_computed_in(e: Evidence, narrow: str) -> bool:
    """Are all entries numbers of a dtype, and as near to the truth as rounding in it keeps them?"""
    if not all(np.array_equal(e.got[n], _cast(e.got[n], narrow)) for n in e.names):
        return False
    u, walks = FORMATS[narrow].roundoff, e.nudged(narrow)
    return all(
        (np.abs(e.got[n] - w) <= e.budget[n] + SAFETY * (_rms([x.right[n] - w for x in walks]) + u * np.abs(w))).all()
        for n in e.names
        for w in [e.want[n]]
    )


def _cast(x: Any, dtype: str) -> np.ndarray:
    return to_float64(rounded(np.asarray(x, dtype=np.float64), dtype))


def _near(e: Evidence, n: str, narrow: str) -> np.ndarray:
    """What rounding makes of an answer that is within the budget: the other neighbour, where a tie is that close."""
    b = np.where(np.isfinite(e.budget[n]), e.budget[n], 0.0)
    low, high = _cast(e.want[n] - b, narrow), _cast(e.want[n] + b, narrow)
    usual = _cast(e.want[n], narrow)
    return np.where(low != usual, low, high)


# ---- the judgement of a hypothesis ----------------------------------------------------------------------------------


def explain(
    case: Case, seen: Observation, ref: Reference, compared: Sequence[Compared], *, seed: int = 0
) -> Explanation | None:
    """The simplest hypothesis that predicts every failing gradient; else one for each of them; None where none does."""
    if any(c.failing.any() and not c.comparison.of.startswith("d") for c in compared):
        return None  # the value is wrong already
    e = Evidence(case, seen, ref, compared, seed)
    if not e.names or not all(np.isfinite(e.got[n]).all() for n in e.names):
        return None
    with np.errstate(all="ignore"):
        try:
            e.plain, e.edges  # noqa: B018 - both are shared by the evidence of single arrays
        except _Spent:
            return None
        whole = _explain(e)
        if whole is not None or len(e.names) == 1:
            return whole
        found = [x for n in e.names if (x := _explain(e.about(n))) is not None]
    if not found:
        return None
    others = tuple(dict.fromkeys(o for x in found for o in x.others))
    return Explanation(found[0].name, "; ".join(x.text for x in found), others)


def _explain(e: Evidence) -> Explanation | None:
    fits: list[tuple[Hypothesis, Guess, float]] = []
    try:
        for h in HYPOTHESES:
            if h.last and fits:
                continue
            for guess in h.predict(e):
                e.tried += guess.tries
                chance = _holds(e, guess)
                if chance is not None:
                    fits.append((h, guess, chance))
    except _Spent:
        pass
    most = math.log(COINCIDENCES) - math.log(max(e.tried, 1))
    fits = [f for f in fits if f[2] < most]
    if not fits:
        return None
    name, text = fits[0][0].name, fits[0][1].text.replace("{}", e.title())
    others = tuple(dict.fromkeys(h.name for h, _, _ in fits if h.name != name))
    if others:
        text += f" (at this point other mistakes would give the same: {', '.join(others)})"
    return Explanation(name, text, others)


def _holds(e: Evidence, guess: Guess) -> float | None:
    """The logarithm of the chance that an unrelated prediction agrees as well; None where this one does not agree."""
    try:
        p = guess.predict(e.plain)
    except (ValueError, TypeError, IndexError, np.linalg.LinAlgError):
        return None  # of another shape than any answer
    if not all(_is_near(e, n, p[n]) for n in e.names):
        return None
    reruns = [guess.predict(w) for w in e.nudged(e.case.dtype)]
    ratios: list[np.ndarray] = []
    for n in e.names:
        got, want, b = e.got[n], e.want[n], e.budget[n]
        t = b + SAFETY * (_rms([r[n] - p[n] for r in reruns]) + e.format.roundoff * np.abs(p[n]))
        right = (np.abs(got - p[n]) <= t) | (e.passing[n] & (np.abs(p[n] - want) <= t)) | ~np.isfinite(b)
        if not right.all():
            return None
        ratios.append((2 * t / np.abs(got - want))[e.failing[n] & np.isfinite(t)])
    if guess.chance is not None:
        return guess.chance
    logs = np.sort(np.log(np.clip(np.concatenate(ratios), 1e-300, 1.0)))
    return float(logs[1:].sum() if guess.free else logs.sum())


def _is_near(e: Evidence, n: str, p: np.ndarray) -> bool:
    """Has the prediction half of the dtype's digits right in every entry that has a budget?"""
    got, want, b = e.got[n], e.want[n], e.budget[n]
    scale = max(float(np.max(np.abs(x), initial=0.0)) for x in (got, want))
    slack = 4 * b + math.sqrt(e.format.roundoff) * scale
    return bool(((np.abs(got - p) <= slack) | ~np.isfinite(b)).all())


def _rms(distances: Sequence[np.ndarray]) -> np.ndarray:
    return np.sqrt(sum(d * d for d in distances) / len(distances))
