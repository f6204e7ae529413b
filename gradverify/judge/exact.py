"""The backward pass itself, evaluated exactly: is its formula the derivative, whatever the dtype hides?

The VJP is traced as a function of the primals and the cotangents, and evaluated in balls at the point. There a cast is the
identity, and nothing rounds. What then stands between it and the truth is the formula, but for the literals: a number in the
code is as good as its format, so that each is a ball (`_Literals`).

What the dtype can hide does not matter here, so that the power of the formula is the same in all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from flint import arb

from ..core.case import Case, Mixed
from ..core.errors import JUDGED, Unsupported
from ..core.graph import Apply, Constant, Graph, Input
from ..core.verdict import Element, Formula
from ..frameworks.base import Framework, Observation
from ..namespaces.dtypes import FORMATS, is_float, to_float64, ulp
from ..namespaces.run import constant_array, forward
from ..ops.build import lowered
from ..oracle.balls import BALLS
from ..oracle.estimate import Estimate, from_balls
from ..oracle.precision import working
from ..oracle.truth import LADDER, Truth, truth, with_literals
from ..trace import Traced
from ..trace.drawing import kept_once
from ..trace.value import HandWrittenFunction, Pull
from .budget import Conditions, budget, casts

LITERAL_ULPS = 2.0
"""A literal errs by up to so many ulps of its format: the rounding of one that is typed to all its digits, and of three
operations that made it from such (sqrt(2/pi) is a division and a root; 1 - beta a subtraction), half an ulp each."""

APPROXIMATED = 2.0**-49
"""Less of an entry is never claimed, 16 units of 2**-53. The kernels of special functions are approximations to some ulps of
a double (Cephes states 2 to 10 for most), which a traced function contains as polynomials, where the rule is exact."""

SHORT = 0.25
"""An integer is meant as it stands, and so is a literal of this share of its format's bits at most: 0.5, 1.25. (A decimal
fraction has all p bits; the last 3p/4 bits of a rounded constant are zeros by chance once in 2**(3p/4).)"""

SMALL = 200_000
"""Array entries, over all nodes, of a backward pass that is evaluated: some 0.3 µs each, as for the truth."""


@dataclass(frozen=True, eq=False)
class Exact:
    """The exact backward pass beside the truth.

    formula  what is said of it
    error    input name -> how far each entry is off, at least: 0 where the formula may be right
    values   input name -> what it comes to
    true     input name -> the truth, of the definition with its literals as they are written
    formats  the dtypes that the backward pass computes in
    asked    the backward pass as a case: its outputs are the gradients
    faults   what it did wrong in memory
    overwrites  node of `asked` -> the node whose value its array held before it was written to
    """

    formula: Formula
    error: Mapping[str, np.ndarray] = field(default_factory=dict)
    values: Mapping[str, np.ndarray] = field(default_factory=dict)
    true: Mapping[str, np.ndarray] = field(default_factory=dict)
    formats: frozenset[str] = frozenset()
    asked: Case | None = None
    faults: tuple[str, ...] = ()
    overwrites: Mapping[int, int] = field(default_factory=dict)

    @property
    def resolution(self) -> str:
        """The finest dtype that the backward pass computes in: what is given, cast or stored does not count."""
        case = self.asked
        assert case is not None
        graph = case.graph
        computes = lambda k: (
            isinstance(node := graph.nodes[k], Apply) and k not in graph.outputs and not casts(graph, node)
        )
        inner = {d for k, d in case.formats.items() if d in FORMATS and computes(k)}
        return min(inner or self.formats, key=lambda d: FORMATS[d].roundoff)

    @property
    def rounded_once(self) -> frozenset[str]:
        """The inputs whose gradient is rounded to their dtype in one place, and not added up there."""
        case = self.asked
        if case is None:
            return frozenset()
        return frozenset(n for n, o in zip(self.values, case.graph.outputs) if not _is_sum_of_rounded(case, o))

    def rounding(self, seed: int) -> dict[str, np.ndarray]:
        """What rounding does to the backward pass as it is written, entry by entry: SAFETY times its scatter."""
        assert self.asked is not None
        found = budget(self.asked, tuple(self.values.values()), {}, Conditions(seed=seed))
        return dict(zip(self.values, found.outputs))


def evaluate_backward(
    case: Case, subject: Framework, function: Any, seen: Observation, true: Truth, seed: int, passed: BackwardPass
) -> Exact:
    """The exact backward pass of `function`, which gave `seen`; its `formula.right` is None where there is none.

    `passed` has its trace, or gets it.
    """
    wrt = tuple(n for n in case.wrt if seen.gradients.get(n) is not None)
    if not wrt:
        return _not("there is no gradient")
    try:
        backward = passed.at(case, subject, function)
    except Faulty as e:
        return replace(_not(str(e)), faults=e.faults)
    except Unsupported as e:
        return _not(str(e))
    traced = backward.graph
    assert traced is not None
    if len(traced.outputs) != len(wrt):
        return _not("its gradients are not those of the run that was judged")
    graph = lowered(traced)
    if sum(math.prod(n.shape) for n in graph.nodes) > SMALL:
        return _not(f"it has more than {SMALL:,} array entries")
    try:
        want = _with_wide_literals(case, true, seed)
        literals = _Literals(case, backward, _literal_format(subject, case))
        found = _evaluated(graph, backward.values, literals, _made_dtypes(case, backward))
    except Unsupported as e:
        return _not(f"the oracle has no kernel for it: {e}")
    if found is None:
        return _not("its value in exact arithmetic cannot be enclosed")
    exact = _compared(dict(zip(wrt, found)), want)
    if exact.formula.right is False and (open_ := _left_open(graph, backward, literals, want)) is not None:
        exact = _compared(dict(zip(wrt, found)), open_)
    formats = frozenset(d for d in backward.formats if d in FORMATS) or frozenset({case.dtype})
    asked = _as_case(case, backward, traced)
    return replace(exact, formats=formats, asked=asked, overwrites=backward.overwrites)


class Faulty(Unsupported):
    """The backward pass does in memory what it may not."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class BackwardPass:
    """The backward pass of one function, traced once for all points of one shape, if nothing ties it to one.

    forward  the trace of the function, whose run may be continued with the backward pass, as long as that is not traced
    """

    def __init__(self) -> None:
        self.traced: Traced | None = None
        self.refused: Unsupported | None = None
        self.forward: Traced | None = None

    @classmethod
    def of(cls, traced: Traced) -> BackwardPass:
        """The backward pass of this trace."""
        found = cls()
        found.traced = traced
        return found

    def at(self, case: Case, subject: Framework, function: Any) -> Traced:
        """The trace at the values of the case, whose shapes are those of the first one; raises as `trace_backward`."""
        if self.refused is not None:
            raise self.refused
        if self.traced is None:
            own, self.forward = self.forward, None
            pull = own.pull if own is not None and function is own.function else None
            try:
                self.traced = trace_backward(case, subject, function, pull)
            except Unsupported as e:
                self.refused = e
                raise
            return self.traced
        traced = self.traced
        if traced.notes or traced.branches or traced.converges or traced.launches.instances:
            return trace_backward(case, subject, function)
        given = dict(zip(cotangent_names(case), case.cotangent))
        return replace(traced, values={**traced.values, **case.values, **given})


def trace_backward(case: Case, subject: Framework, function: Any, pull: Pull | None = None) -> Traced:
    """The trace of the backward pass of `function`, with the case's names for the primals and `g` for the cotangent.

    `pull` goes on with a run of the function that was recorded (`Traced.pull`).

    Raises Unsupported, with the reason, where it has no graph; Faulty where it does in memory what it may not.
    """
    try:
        with kept_once():
            backward = pull(case.values, case.wrt, case.cotangent) if pull else None
            if backward is None:
                backward = subject.trace_vjp(several(function), case.values, case.wrt, case.cotangent)
    except Unsupported:
        raise
    except JUDGED as e:  # under a tracer a function may do what it does not do else
        raise Unsupported(f"it raised {type(e).__name__} where it was traced") from e
    if backward.faults:
        raise Faulty(backward.faults)
    if sum(a.role != "captured" for a in backward.arguments) != len(case.values) + len(case.cotangent):
        raise Unsupported("its arguments are not those of the function")
    if backward.graph is None:
        raise Unsupported("; ".join(backward.opaque))
    return _renamed(case, backward, backward.graph)


def _renamed(case: Case, backward: Traced, graph: Graph) -> Traced:
    given = cotangent_names(case)
    free = iter([*case.values, *given])
    point = {**case.values, **dict(zip(given, case.cotangent))}
    new = {a.name: next(free) for a in backward.arguments if a.role != "captured"}
    new |= {n: n if n not in point else f"captured {n}" for n in graph.inputs if n not in new}
    nodes = tuple(replace(n, name=new[n.name]) if isinstance(n, Input) else n for n in graph.nodes)
    return replace(
        backward,
        graph=Graph(nodes, graph.outputs),
        arguments=tuple(replace(a, name=new.get(a.name, a.name)) for a in backward.arguments),
        values={new.get(n, n): point.get(new.get(n, n), v) for n, v in backward.values.items()},
    )


def cotangent_names(case: Case) -> list[str]:
    """`g`, or `g0`, `g1`, … of several outputs; with more letters where an input is called that."""
    name = "g"
    while any(n == name or n.rstrip("0123456789") == name for n in case.values):
        name = f"{name}g"
    return [name] if len(case.cotangent) == 1 else [f"{name}{i}" for i in range(len(case.cotangent))]


def _as_case(case: Case, backward: Traced, graph: Graph) -> Case:
    values = {n: backward.values[n] for n in graph.inputs}
    inputs = {n: case.dtype_of(n) for n in case.values}
    widest = min((case.literal_dtype, *backward.node_formats.values()), key=lambda d: FORMATS[d].roundoff)
    mixed = Mixed(inputs, tuple(map(case.dtype_of, case.wrt)), widest, backward.node_formats, graph)
    zeros = tuple(np.zeros(graph.nodes[o].shape) for o in graph.outputs)
    return Case(case.name, graph, values, zeros, case.dtype, (), mixed=mixed)


def ran(exact: Exact, seen: Observation, seed: int) -> bool:
    """Is the gradient that was seen the traced one, to half of the digits and what its rounding scatters by?

    What depends on the call (a counter, a cache) was traced in another call than was judged.
    """
    assert exact.asked is not None
    allowed = exact.rounding(seed)
    for name, value in exact.values.items():
        got = seen.gradients[name]
        assert got is not None
        with np.errstate(all="ignore"):
            half = math.sqrt(FORMATS[str(got.dtype)].roundoff) * np.max(np.abs(value), initial=0.0)
            if (np.abs(to_float64(got) - value) > allowed[name] + half).any():
                return False
    return True


def off_beyond(exact: Exact, seed: int) -> bool:
    """Is the formula off by more than the arithmetic of the backward pass resolves in some entry?

    That is what its rounding scatters by, but for the last one, to the dtype that a gradient is stored in.
    """
    case = exact.asked
    assert case is not None
    assert case.mixed is not None
    nodes = {k: d for k, d in case.mixed.nodes.items() if k not in case.graph.outputs}
    outputs = (exact.resolution,) * len(case.graph.outputs)
    mixed = replace(case.mixed, outputs=outputs, nodes=nodes)
    unstored = replace(exact, asked=replace(case, dtype=exact.resolution, mixed=mixed))
    allowed = unstored.rounding(seed)
    return any(bool((e > allowed[n]).any()) for n, e in exact.error.items())


MOVES = frozenset({"reshape", "permute_dims", "expand_dims", "squeeze", "getitem", "flip", "roll"})


def _is_sum_of_rounded(case: Case, k: int) -> bool:
    """Is this node a sum in its own dtype, as it stands or moved? Then its terms were rounded before."""
    graph = case.graph
    while isinstance(node := graph.nodes[k], Apply):
        cast = casts(graph, node)
        if cast and _roundoff(case, cast[0]) < _roundoff(case, k):
            return False
        if not cast and node.op not in MOVES:
            return node.op == "add"
        k = (cast or node.args)[0]
    return False


def _roundoff(case: Case, k: int) -> float:
    return FORMATS[case.formats.get(k, case.dtype)].roundoff


def several(function: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    """The function with its results as a tuple, one or many."""
    if isinstance(function, HandWrittenFunction):
        return function

    def called(*arrays: Any) -> tuple[Any, ...]:
        result = function(*arrays)
        return tuple(result) if isinstance(result, tuple | list) else (result,)

    return called


def _not(why: str) -> Exact:
    return Exact(Formula(None, why=why))


def _literal_format(subject: Framework, case: Case) -> str:
    """The format that the subject's traces hold literals in."""
    return case.literal_dtype if subject.narrow_literals else "float64"


def _with_wide_literals(case: Case, true: Truth, seed: int) -> Truth:
    """The truth of the definition with its literals as they are written, which the backward pass has as well."""
    if case.literal_dtype == "float64" or not any(
        isinstance(n, Constant)
        and n.kind == "float"
        and not np.array_equal(constant_array(n, case.literal_dtype), constant_array(n, "float64"), equal_nan=True)
        for n in lowered(case.graph).nodes
    ):
        return true
    question = case.graph, case.values, case.cotangent, case.wrt, "float64"
    return with_literals(true, *question) or truth(*question, seed=seed)


def _made_dtypes(case: Case, backward: Traced) -> dict[str, str]:
    """Name -> dtype of the float arrays that the backward pass makes of its literals: those that the definition has not."""
    known = {v.tobytes() for n, v in case.values.items() if is_float(v)}
    arrays = {a.name: a.dtype for a in backward.arguments if a.role == "captured" and a.kind == "float"}
    return {n: d for n, d in arrays.items() if d in FORMATS and backward.values[n].tobytes() not in known}


def _evaluated(
    graph: Graph, values: Mapping[str, np.ndarray], literals: _Literals, made: Mapping[str, str]
) -> list[Estimate] | None:
    """The outputs in balls; None where no precision encloses them, or a comparison stays open."""
    undecided = BALLS.undecided
    for bits in LADDER[:3]:
        with working(bits):
            try:
                at = {n: BALLS.asarray(to_float64(v)) if is_float(v) else np.asarray(v) for n, v in values.items()}
                at |= {n: literals.made(to_float64(values[n]), d) for n, d in made.items() if n in values}
                BALLS.undecided = 0
                nodes = forward(BALLS, graph, at, "float64", literal=literals.balls)
                found = [from_balls(BALLS.asarray(nodes[o])) for o in graph.outputs]
                open_ = BALLS.undecided
            except (ZeroDivisionError, ValueError, OverflowError):
                return None
            finally:
                BALLS.matrices.clear()
                BALLS.undecided = undecided
        if not open_ and all(np.isfinite(e.bound).all() and np.isfinite(e.hi).all() for e in found):
            return found
    return None


def _left_open(graph: Graph, backward: Traced, literals: _Literals, want: Truth) -> Truth | None:
    """The truth with bounds as wide as the numbers that the definition alone has leave it; None where it has none.

    A backward pass that has not the nodes and weights of a quadrature has the derivative of what they stand for: each of
    them is as good as its format.
    """
    case = literals.case
    needed = [graph.nodes[k] for k in graph.active]
    arrays = [constant_array(n, "float64") for n in needed if isinstance(n, Constant)]
    arrays += [to_float64(x) for n in needed if isinstance(n, Input) and is_float(x := backward.values[n.name])]
    both = {abs(v) for x in arrays for v in x.ravel().tolist()}
    alone = {size for size in literals.written | literals.given if size not in both and not literals.is_short(size)}
    if not alone:
        return None

    def balls(array: np.ndarray) -> np.ndarray:
        # The numbers of an array are made together, by angles or sums of up to as many steps as it has entries.
        ulps = LITERAL_ULPS * array.size
        return literals.each(array, lambda v: literals.rounded(v, ulps) if abs(v) in alone else arb(v))

    try:
        found = with_literals(
            want, case.graph, case.values, case.cotangent, case.wrt, "float64",
            literal=lambda node: balls(constant_array(node, "float64")),
            arrays={n: balls(to_float64(v)) for n, v in case.values.items() if n not in case.wrt and is_float(v)},
        )  # fmt: skip
    except (ZeroDivisionError, ValueError, OverflowError):
        return None
    if found is None:
        return None
    widened = {
        n: replace(e, bound=e.bound + found.gradients[n].bound + np.abs(found.gradients[n].hi - e.hi))
        for n, e in want.gradients.items()
    }
    return replace(want, gradients=widened)


def meant_literals(case: Case) -> tuple[dict[float, list[float]], frozenset[float]]:
    """Which literals of the definition each number stands for, by size (1 + 2**-51 is 1 in float32); and those literals."""
    written = [n for n in lowered(case.graph).nodes if isinstance(n, Constant) and n.kind == "float"]
    wide, narrow = (
        np.abs(np.concatenate([constant_array(n, d).ravel() for n in written] or [np.zeros(0)])).tolist()
        for d in ("float64", case.literal_dtype)
    )
    meant: dict[float, list[float]] = {}
    for w, n in zip(wide, narrow):
        meant.setdefault(n, []).append(w)
    return meant | {w: [w] for w in wide}, frozenset(wide)


class _Literals:
    """The literals of a backward pass as balls, each as wide as the roundings that it is made of.

    One that the definition is written with as well, rounded to the case's dtype or not, means that number.
    """

    def __init__(self, case: Case, backward: Traced, fmt: str) -> None:
        self.fmt, self.from_arrays, self.dtype = fmt, backward.from_arrays, case.literal_dtype
        self.case = case
        self.meant, self.written = meant_literals(case)

    @cached_property
    def given(self) -> frozenset[float]:
        """The sizes of the numbers in the definition's own arrays."""
        values = self.case.values
        return frozenset(
            abs(float(x)) for n, v in values.items() if n not in self.case.wrt and is_float(v) for x in v.flat
        )

    def balls(self, node: Constant) -> np.ndarray:
        return self.each(constant_array(node, "float64"), self._ball)

    def made(self, array: np.ndarray, dtype: str) -> np.ndarray:
        """An array that was made in this dtype; numbers of the definition's own arrays mean themselves."""
        u = FORMATS[dtype].roundoff
        return self.each(array, lambda v: arb(v) if abs(v) in self.given else self._ball(v, u))

    @staticmethod
    def each(array: np.ndarray, ball: Callable[[float], arb]) -> np.ndarray:
        out = np.empty(array.shape, dtype=object)
        for at in np.ndindex(array.shape):
            out[at] = ball(float(array[at]))
        return out

    def _ball(self, v: float, made_in: float = 0.0) -> arb:
        size = abs(v)
        if size in self.meant:
            least, most = min(self.meant[size]), max(self.meant[size])
            ball = arb(least) if least == most else arb(least).union(arb(most))
            return ball if v >= 0 else -ball
        u = made_in or self._roundoff(size)
        return arb(v) if _is_short(v, u) else arb(v, 2 * u * LITERAL_ULPS * size)

    def is_short(self, v: float) -> bool:
        """Is this number of the definition meant as it stands?"""
        return _is_short(v, _format_of(v))

    def rounded(self, v: float, ulps: float) -> arb:
        """A number of the definition, as good as so many ulps of the format that its digits fill."""
        return arb(v, 2 * _format_of(v) * ulps * abs(v))

    def _roundoff(self, size: float) -> float:
        """Of the format that the number was computed in; an array's are taken for the case's, if that holds them."""
        if size in self.from_arrays:
            for d in (self.dtype, "float32"):
                if _bits(size) <= -math.log2(FORMATS[d].roundoff):
                    return FORMATS[d].roundoff
        return FORMATS[self.fmt].roundoff


def _is_short(v: float, u: float) -> bool:
    return not math.isfinite(v) or v == round(v) or _bits(v) <= -SHORT * math.log2(u)


def _format_of(v: float) -> float:
    """The unit roundoff of the narrowest of float32 and float64 that holds a number: a double has a float32's digits by
    chance once in 2**29."""
    narrow = FORMATS["float32"].roundoff
    return narrow if math.isfinite(v) and _bits(v) <= -math.log2(narrow) else FORMATS["float64"].roundoff


def _bits(v: float) -> int:
    """The number of significant bits of a double."""
    n = abs(int(math.ldexp(math.frexp(v)[0], 53)))
    return n.bit_length() - ((n & -n).bit_length() - 1) if n else 0


def _compared(got: Mapping[str, Estimate], want: Truth) -> Exact:
    """Entry by entry: off by at least d - r, where d is the distance of the two values and r what their balls leave open."""
    power = math.nan  # zeros have no relative error
    errors: dict[str, np.ndarray] = {}
    worst: Element | None = None
    largest = 0.0
    asked = 0
    for name, g in got.items():
        t = want.gradients[name]
        if g.shape != t.shape:
            return _not(f"the gradient of {name} has shape {g.shape} there")
        with np.errstate(all="ignore"):
            d = np.abs((g.hi - t.hi) + (g.lo - t.lo))
            r = g.bound + t.bound
            # Of entries at a kink a formula has a convention; the values are held against the sides.
            smooth = want.low[name] == want.high[name] if name in want.low else np.isfinite(t.hi)
            asked += int(smooth.sum())
            size = np.abs(t.hi)
            scale = np.maximum(size, np.max(size, initial=0.0) * 2.0**-53)
            errors[name] = np.where(smooth & np.isfinite(d - r), np.maximum(d - r - APPROXIMATED * size, 0.0), 0.0)
            known = smooth & (size > t.bound)
            relative = ((r + d) / size)[known & (errors[name] == 0)]
        if relative.size:
            power = max(APPROXIMATED, float(np.fmax(power, relative.max())))
        if errors[name].any():
            share = np.where(errors[name] > 0, errors[name] / np.where(scale > 0, scale, 1.0), 0.0)
            at = np.unravel_index(int(np.argmax(share)), share.shape)
            if share[at] > largest:
                largest = float(share[at])
                worst = _element(f"d{name}", tuple(int(i) for i in at), g, t, d, r)
    if not asked:
        return _not("the point lies on a kink, where a formula is a convention")
    formula = Formula(True, power) if worst is None else Formula(False, power, error=largest, worst=worst)
    return Exact(formula, errors, {n: g.hi for n, g in got.items()}, {n: want.gradients[n].resolved for n in got})


def _element(of: str, index: tuple[int, ...], g: Estimate, t: Estimate, d: np.ndarray, r: np.ndarray) -> Element:
    one = float(ulp(np.asarray(t.hi[index]), FORMATS["float64"]))
    error = float(d[index])
    return Element(of, index, g.digits(index), t.digits(index), error, float(r[index]), 0.0, error / one, 0.0)
