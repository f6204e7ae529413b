"""From packed integers to a graph whose every node stays in a bounded interval.

Each integer names an op and where its arguments come from: nodes that exist (counted back from the newest, so that
deleting an earlier integer keeps a chain a chain), or leaves made for the purpose. What does not fit is repaired, in
this order: the other nodes, a fresh leaf from an interval that the op admits, a cheap map into such an interval. Only
where nothing helps is the integer skipped. So the same op stands for the same integer whatever surrounds it, and
shrinking by deletion keeps the culprit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, product
from typing import Any

import numpy as np

from ..core.errors import ShapeError, UnknownName
from ..core.graph import Apply, Constant, Graph, Input, Node
from ..core.interval import Interval
from ..core.op import VARIADIC, Kind, OpSpec, Shape
from ..namespaces import NUMPY
from ..ops import OPS
from ..ops.build import GraphBuilder
from .digits import Digits
from .params import draws

BOUND = 2.0**8
MARGIN = 2.0**-4
"""No node's interval leaves [-BOUND, BOUND], and none comes nearer than MARGIN to the end of a domain.

An op's argument may so lose at most BOUND / MARGIN = 2**12 of its relative accuracy to cancellation before it meets a
pole; of float32's 24 bits twelve are left even then, enough to tell a wrong digit from a rounded one. And a product of
`max_ops` = 8 factors of BOUND is 2**64, far from float32's overflow at 2**128.
"""

# Dyadic ends: rounding to any dtype keeps a value inside. GENERAL first; it is what shrinking ends with.
GENERAL, POSITIVE, SMALL, UNIT, ABOVE, NEGATIVE, WIDE = PALETTE = (
    Interval(-2.0, 2.0),
    Interval(0.5, 2.0),
    Interval(-0.75, 0.75),
    Interval(0.125, 0.875),
    Interval(1.25, 3.0),
    Interval(-2.0, -0.5),
    Interval(-8.0, 8.0),  # where saturation and tails begin to show; further out float32's cotangents underflow
)
GUARDED = Interval(-8.0, 8.0)
"""Assumed of arguments that an op's `guard` has shaped; `values` checks it."""

MASK = Interval(0.0, 1.0)
NO_PROFILE: tuple[tuple[Interval, ...], ...] = ((),)

# Weighted by repetition; a leaf's own shape, before what the op asks of it.
SHAPES: tuple[Shape, ...] = (
    (), (3,), (2, 3), (2, 2), (4,), (1,), (3, 2), (3, 3), (2, 1), (2, 3, 2), (1, 3), (2, 2, 2), (5,), (3, 1), (2, 4),
    (0,), (3,), (2, 3), (2, 2), (4, 2), (), (2,), (1, 1), (2, 0, 3), (3, 1, 2), (7,), (2, 2), (3, 2), (2,), (3, 4),
    (2, 1, 3), (0, 2),
)  # fmt: skip
LADDER: tuple[Shape, ...] = ((2,), (2, 2), (3, 2), (2, 2, 2))

LITERALS = (2.0, 0.5, 3.0, -1.0, 1.0, -0.5, 0.0)

EINSUMS = ("ij,jk->ik", "i,i->", "ij,j->i", "ij->ji", "ij,ij->ij", "i,j->ij", "ij->i", "ij,kj->ik", "ij,jk,k->i",
           "bij,bjk->bik", "ii->i", "ij->", "bi,bj->bij", "ii->", "iij->j", "ij,i->ji")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be drawn. `ops` are names of the op table, simplest first; see `limits`."""

    ops: tuple[str, ...]
    max_ops: int = 8
    max_elements: int = 48
    max_rank: int = 3
    inputs: int = 6
    kinks: bool = False


def generatable(spec: OpSpec) -> bool:
    """May random graphs contain it?

    Yes where the declaration says so, and where the reason to say no is met here: index arguments become leaves of
    valid indices, structured ones (a definite matrix) leaves that the op's guard shapes, subscripts come from a list.
    No for integer results, since nothing here consumes them, and for masks made of masks.
    """
    if spec.result == "int" or (spec.result == "bool" and spec.arguments[0] != "float"):
        return False
    return spec.generate or spec.guard is not None or spec.name == "einsum"


def shaped(spec: OpSpec) -> bool:
    """Must its arguments be leaves that its guard has shaped? (A guard of index arguments is not needed here.)"""
    return spec.guard is not None and "int" not in spec.arguments


@lru_cache(maxsize=64)
def _names(ops: tuple[str, ...] | None) -> tuple[str, ...]:
    for name in ops or ():
        if name not in OPS:
            raise UnknownName("op", name, OPS)
    names = [n for n, s in OPS.items() if generatable(s)] if ops is None else list(ops)
    if not names:
        raise ValueError("graphs need at least one op")
    return tuple(sorted(names, key=_simplicity))


def every_op() -> tuple[str, ...]:
    """The ops of graphs whose drawer names none."""
    return _names(None)


def _simplicity(name: str) -> tuple[int, int, int, bool]:
    """Shrinking moves towards the first: few arguments, few parameters, no kinks; and, before these, the two ops that
    `sent` puts in by itself, so that a failure of theirs is one step from the op alone (Hypothesis always tries 0, 1).
    """
    spec = OPS[name]
    helper = {"add": 0, "multiply": 1}.get(name, 2)
    return helper, spec.arity % 100, len(spec.params), spec.kinks is not None


def limits(ops: Iterable[str] | None = None, **settings: Any) -> Limits:
    """Checked limits. Raises UnknownName for an op that the table lacks, ValueError for sizes that admit no graph."""
    made = Limits(_names(None if ops is None else tuple(dict.fromkeys(ops))), **settings)
    for name in ("max_ops", "max_elements", "inputs"):
        if getattr(made, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(made, name)}")
    if made.max_rank < 0:
        raise ValueError(f"max_rank must not be negative, got {made.max_rank}")
    return made


@dataclass(frozen=True, slots=True)
class Leaf:
    """How the values of an input are drawn: from `interval`, in one of `values.STYLES`; ints from [0, `count`)."""

    interval: Interval
    style: int = 0
    count: int = 0


@dataclass(frozen=True, slots=True)
class Guard:
    """Inputs that an op's `guard` shapes together before they are used."""

    op: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """A graph with what is known of its values before any is drawn.

    intervals  of every node's values; a mask's is [0, 1], an index array's [0, count - 1]
    leaves     input name -> how its values are drawn
    guards     what shapes them afterwards
    cotangent  a number that picks the style of the cotangents
    """

    graph: Graph
    intervals: tuple[Interval, ...]
    leaves: Mapping[str, Leaf]
    guards: tuple[Guard, ...]
    cotangent: int


@dataclass(frozen=True, slots=True)
class Fresh:
    """An argument that is a leaf yet to be made."""

    shape: Shape
    kind: Kind = "float"


@dataclass(frozen=True, slots=True)
class Number:
    """An argument that is a constant yet to be made."""

    value: float
    shape: Shape = ()


Argument = int | Fresh | Number


def plan(ints: Sequence[int], limits: Limits) -> Plan | None:
    """Decode `ints` (the first says what concerns the whole graph, each other one is a node).

    None where nothing could be placed, which takes limits that admit hardly anything.
    """
    head = Digits(ints[0])
    several, cotangent = head.take(2) == 1, head.take(16)
    planner = Planner(limits, _shape_table(limits)[head.op(len(_shape_table(limits)))])
    for packed in ints[1:]:
        digits = Digits(packed)
        if planner.room < 1:
            break
        planner.place(OPS[limits.ops[digits.op(len(limits.ops))]], digits)
    return planner.finished(several, cotangent)


@lru_cache(maxsize=64)
def _shape_table(limits: Limits) -> tuple[Shape, ...]:
    fitting = tuple(s for s in SHAPES if len(s) <= limits.max_rank and math.prod(s) <= limits.max_elements)
    return fitting or ((),)


class Planner:
    """A graph under construction."""

    def __init__(self, limits: Limits, base: Shape) -> None:
        self.limits, self.base = limits, base
        self.builder = GraphBuilder()
        self.intervals: list[Interval] = []
        self.leaves: dict[str, Leaf] = {}
        self.guards: list[Guard] = []
        self.used: set[int] = set()
        self.room = limits.max_ops

    # choosing arguments

    def place(self, spec: OpSpec, digits: Digits) -> int | None:
        """Append `spec` on arguments that fit it, whatever that takes. None where nothing does."""
        wants_mask = spec.result == "bool"
        if wants_mask and ("where" not in self.limits.ops or self.room < 2):
            return None
        may_map = digits.take(2) == 1
        for mapping in (True,) if may_map else (False, True):
            for arguments, params in islice(self.calls(spec, digits), 60):
                made = self.called(spec, arguments, params, digits, mapping)
                if made is not None:
                    return self.chosen(made, digits) if wants_mask else made
        return None

    def chosen(self, mask: int, digits: Digits) -> int | None:
        """A mask is used at once, or it would be dead: where(mask, a, b)."""
        return self.place_on("where", mask, digits)

    def place_on(self, op: str, first: int, digits: Digits) -> int | None:
        spec = OPS[op]
        for rest in islice(self.others(spec, first, digits, spec.arity), 30):
            made = self.called(spec, (first, *rest), {}, digits, True)
            if made is not None:
                return made
        return None

    def calls(self, spec: OpSpec, digits: Digits) -> Iterator[tuple[tuple[Argument, ...], dict[str, Any]]]:
        """Arguments and parameters to try, in the order that the digits ask for."""
        if spec.name == "einsum":
            yield from self.einsums(digits)
            return
        arity = (2, 1, 3, 2)[digits.take(4)] if spec.arity == VARIADIC else spec.arity
        for first in islice(self.firsts(spec, digits), 6):
            for params in draws(spec, self.shape(first), digits):
                for rest in islice(self.others(spec, first, digits, arity), 24):
                    yield (first, *rest), params

    def firsts(self, spec: OpSpec, digits: Digits) -> Iterator[Argument]:
        """The newest node most often, then any other, then a leaf of the graph's own shape, then one of any shape."""
        kind = spec.argument(0)
        nodes: list[Argument] = [] if shaped(spec) else list(self.nodes(kind))
        how = digits.take(8)
        fresh: list[Argument] = [Fresh(s, kind) for s in (self.base, *LADDER)]
        if how == 7 and self.may_add(1):
            yield fresh[0]
        elif how >= 5 and nodes:
            yield nodes[digits.take(len(nodes))]
        yield from nodes[:3]
        yield from fresh

    def others(self, spec: OpSpec, first: Argument, digits: Digits, arity: int) -> Iterator[tuple[Argument, ...]]:
        """The arguments after the first: the same node, others, constants, leaves of a shape that may suit."""
        choices = [self.seconds(spec, first, i, digits) for i in range(1, arity)]
        return product(*choices) if choices else iter(((),))

    def seconds(self, spec: OpSpec, first: Argument, i: int, digits: Digits) -> list[Argument]:
        kind, shape = spec.argument(i), self.shape(first)
        nodes: list[Argument] = [] if shaped(spec) else list(self.nodes(kind))
        fresh: list[Argument] = [Fresh(s, kind) for s in companions(shape, spec.broadcasts)]
        if kind == "float" and spec.broadcasts and not self.limits.kinks and spec.kinks is not None:
            # maximum(x, x) is all ties.
            nodes = [n for n in nodes if n != first] if i == 1 else nodes
        how = digits.take(16)
        loose = [n for n in nodes if n != first and n not in self.used]
        if how < 2 and isinstance(first, int) and first in nodes:
            lead: list[Argument] = [first]
        elif how < 5 and loose:
            # What nothing uses yet would be pruned.
            lead = [loose[digits.take(len(loose))]]
        elif how < 7 and nodes:
            lead = [nodes[digits.take(len(nodes))]]
        elif how == 7 and spec.broadcasts and kind == "float":
            lead = [Number(LITERALS[digits.take(len(LITERALS))])]
        else:
            lead = [fresh[digits.take(len(fresh))] if how > 11 else fresh[0]]
        tail = [a for a in (*nodes[:3], *fresh) if a not in lead]
        return lead + tail

    def einsums(self, digits: Digits) -> Iterator[tuple[tuple[Argument, ...], dict[str, Any]]]:
        """Subscripts from a list; letters take the sizes that the first argument gives them."""
        text = EINSUMS[digits.take(len(EINSUMS))]
        terms = text.split("->")[0].split(",")
        for first in self.firsts(OPS["einsum"], digits):
            letters = terms[0]
            shape = self.shape(first)
            if isinstance(first, Fresh):
                shape = tuple(2 + (c in "jk") for c in letters)
                first = Fresh(shape)
            if len(shape) != len(letters):
                continue
            sizes = dict(zip(letters, shape))
            rest: list[Argument] = []
            for k, term in enumerate(terms[1:]):
                wanted = tuple(sizes.setdefault(c, 2 + k) for c in term)
                same: list[Argument] = [n for n in self.nodes("float") if self.shape(n) == wanted]
                how = digits.take(4)
                rest.append(same[how % len(same)] if same and how < 3 else Fresh(wanted))
            yield (first, *rest), {"subscripts": text}

    def nodes(self, kind: Kind) -> Iterator[int]:
        """Nodes of a kind, newest first; constants are not worth differentiating."""
        for k in range(len(self.builder.nodes) - 1, -1, -1):
            node = self.builder.nodes[k]
            if node.kind == kind and not isinstance(node, Constant):
                yield k

    def shape(self, a: Argument) -> Shape:
        return self.builder.shape(a) if isinstance(a, int) else a.shape

    def may_add(self, leaves: int) -> bool:
        return len(self.leaves) + leaves <= self.limits.inputs

    # fitting them

    def called(
        self, spec: OpSpec, arguments: Sequence[Argument], params: dict[str, Any], digits: Digits, mapping: bool
    ) -> int | None:
        """Append the call if shapes, limits, domain and image allow it; with `mapping`, map nodes into the domain."""
        if not self.may_add(sum(isinstance(a, Fresh) for a in arguments)):
            return None
        shapes = tuple(self.shape(a) for a in arguments)
        trial = tried(spec.name, shapes, tuple(params.items()), _first_equal(arguments))
        if trial is None or (trial.kink and not self.limits.kinks):
            return None
        for s in (trial.shape, *shapes):
            if len(s) > self.limits.max_rank or math.prod(s) > self.limits.max_elements:
                return None
        count = _index_count(spec, shapes, params)
        if any(self.beyond(spec.argument(i), a, count) for i, a in enumerate(arguments)):
            return None
        known = [self.known(spec, i, a, count) for i, a in enumerate(arguments)]
        if shaped(spec):
            intervals = [GUARDED] * len(arguments)
            return self.commit(spec, arguments, intervals, params, trial.assumed, digits, count)
        free = any(k is None for k in known)
        for profile in _rotated(profiles(spec.name, len(arguments)), digits.take(16)) if free else NO_PROFILE:
            intervals = [k or profile[i] for i, k in enumerate(known)]
            image = fitting(spec, intervals, shapes, params, self.limits.kinks)
            if image is not None:
                return self.commit(spec, arguments, intervals, params, image, digits, count)
        if mapping and any(isinstance(a, int) and spec.argument(i) == "float" for i, a in enumerate(arguments)):
            return self.mapped(spec, arguments, known, shapes, params, digits, count)
        return None

    def beyond(self, kind: Kind, a: Argument, count: int) -> bool:
        """Was this index array made for a longer axis?"""
        return kind == "int" and isinstance(a, int) and self.intervals[a].hi >= max(count, 1)

    def known(self, spec: OpSpec, i: int, a: Argument, count: int) -> Interval | None:
        """The interval of an argument; None for a float leaf that is still free."""
        if isinstance(a, Number):
            return Interval.point(a.value)
        if isinstance(a, int):
            return self.intervals[a]
        kind = spec.argument(i)
        return None if kind == "float" else MASK if kind == "bool" else Interval(0.0, max(count - 1.0, 0.0))

    def mapped(
        self,
        spec: OpSpec,
        arguments: Sequence[Argument],
        known: Sequence[Interval | None],
        shapes: tuple[Shape, ...],
        params: dict[str, Any],
        digits: Digits,
        count: int,
    ) -> int | None:
        """The call with the arguments that do not fit sent through a cheap map first."""
        for profile in profiles(spec.name, len(arguments)):
            intervals = [
                profile[i] if k is None or (spec.argument(i) == "float" and not isinstance(a, Number)) else k
                for i, (a, k) in enumerate(zip(arguments, known))
            ]
            if fitting(spec, intervals, shapes, params, self.limits.kinks) is None:
                continue
            through = list(arguments)
            for i, a in enumerate(arguments):
                if isinstance(a, int) and not self.intervals[a].within(intervals[i]):

                    def admitted(moved: Interval, i: int = i, rest: list[Interval] = intervals) -> bool:
                        return fitting(spec, [*rest[:i], moved, *rest[i + 1 :]], shapes, params, False) is not None

                    to = self.sent(a, intervals[i], admitted, digits)
                    if to is None:
                        break
                    through[i], intervals[i] = to, self.intervals[to]
            else:
                image = fitting(spec, intervals, shapes, params, self.limits.kinks)
                if image is not None and self.room:
                    return self.commit(spec, through, intervals, params, image, digits, count)
        return None

    def sent(self, k: int, target: Interval, admitted: Callable[[Interval], bool], digits: Digits) -> int | None:
        """Node `k` through one op more, so that it is `admitted`: a smooth op, a power of two times it, or its sum
        with a number that brings it near `target`. One op only, so that what it causes shrinks to 4 nodes."""
        if self.room < 2:
            return None
        source, shape, ops = self.intervals[k], self.builder.shape(k), self.limits.ops
        names = squashes(ops)
        if names and digits.take(2):
            for name in _rotated(names, 9 + digits.take(len(names))):
                image = fitting(OPS[name], [source], (shape,), {}, False)
                if image is not None and admitted(image):
                    return self.append(name, (k,), {}, image)
        if "multiply" in ops and source.magnitude > 0:
            scale = 2.0 ** math.floor(math.log2(target.magnitude / source.magnitude))
            scaled = source * Interval.point(scale)
            if scale < 1 and admitted(scaled):
                return self.append("multiply", (k, self.constant(scale)), {}, scaled)
        if "add" in ops:
            for offset in (math.ceil(4 * (target.lo - source.lo)) / 4, math.floor(4 * (target.hi - source.hi)) / 4):
                moved = source + Interval.point(offset)
                if offset and admitted(moved):
                    return self.append("add", (k, self.constant(offset)), {}, moved)
        return None

    # appending

    def constant(self, value: float) -> int:
        k = self.builder.constant(value)
        if k == len(self.intervals):
            self.intervals.append(Interval.point(value))
        return k

    def append(self, op: str, args: Sequence[int], params: Mapping[str, Any], image: Interval) -> int:
        k = self.builder.apply(op, *args, **params)
        self.used.update(args)
        self.intervals.append(image)
        self.room -= 1
        return k

    def commit(
        self,
        spec: OpSpec,
        arguments: Sequence[Argument],
        intervals: Sequence[Interval],
        params: Mapping[str, Any],
        image: Interval,
        digits: Digits,
        count: int,
    ) -> int:
        args = []
        for i, a in enumerate(arguments):
            if isinstance(a, Fresh):
                name = f"x{len(self.leaves)}"
                self.leaves[name] = Leaf(intervals[i], digits.take(16), count)
                args.append(self.builder.input(name, a.shape, a.kind))
                self.intervals.append(intervals[i])
            else:
                args.append(self.constant(a.value) if isinstance(a, Number) else a)
        if shaped(spec):
            names = (self.builder.nodes[a] for a in args)
            self.guards.append(Guard(spec.name, tuple(n.name for n in names if isinstance(n, Input))))
        return self.append(spec.name, args, params, image)

    def finished(self, several: bool, cotangent: int) -> Plan | None:
        """The newest float node is the output, with `several` two more that nothing uses; the rest is pruned."""
        nodes = self.builder.nodes
        floats = [k for k, n in enumerate(nodes) if isinstance(n, Apply) and n.kind == "float"]
        if not floats:
            return None
        sinks = [k for k in floats[:-1] if k not in self.used][-2:] if several else []
        return self.pruned(Graph(tuple(nodes), (floats[-1], *sinks)), cotangent)

    def pruned(self, whole: Graph, cotangent: int) -> Plan:
        """Only what the outputs need, inputs renamed x0, x1, …, and everything known of the rest carried along.

        A guard's inputs stay together, used or not, because it shapes them together.
        """
        guards = [g for g in self.guards if any(whole.inputs[n] in whole.active for n in g.inputs)]
        kept = whole.active | {whole.inputs[n] for g in guards for n in g.inputs}
        keep = sorted(kept)
        new = {old: k for k, old in enumerate(keep)}
        names: dict[str, str] = {}
        nodes: list[Node] = []
        for k in keep:
            node = whole.nodes[k]
            if isinstance(node, Input):
                names[node.name] = f"x{len(names)}"
                node = Input(names[node.name], node.shape, node.kind)
            elif isinstance(node, Apply):
                node = Apply(node.op, tuple(new[a] for a in node.args), node.params, node.shape, node.kind)
            nodes.append(node)
        return Plan(
            Graph(tuple(nodes), tuple(new[o] for o in whole.outputs)),
            tuple(self.intervals[k] for k in keep),
            {names[n]: leaf for n, leaf in self.leaves.items() if n in names},
            tuple(Guard(g.op, tuple(names[n] for n in g.inputs)) for g in guards),
            cotangent,
        )


def companions(shape: Shape, broadcasts: bool) -> list[Shape]:
    """Shapes that a further argument may have beside one of `shape`: equal, broadcasting, or for a product."""
    n = len(shape)
    out: list[Shape] = [shape]
    out += [tuple(1 if i == j else s for j, s in enumerate(shape)) for i in range(n)]
    out += [shape[1:], (), (1, *shape), (1,) * n, (2, *shape)]
    if n and 1 in shape:
        out.append(tuple(3 if s == 1 else s for s in shape))
    if not broadcasts and n:
        out += [shape[-1:], (*shape[:-2], shape[-1], 2), (shape[-1], 2), (*shape[:-1], 2), shape[:-1],
                (*shape[:-2], shape[-1], *shape[-2:-1]), (2,), (3,), (2, 2)]  # fmt: skip
    return list(dict.fromkeys(out))


def _rotated(items: Sequence[Any], start: int) -> Sequence[Any]:
    """Most starts are the beginning, so that the first item stays the usual one."""
    start = start - 9
    return items if start <= 0 or not items else [*items[start % len(items) :], *items[: start % len(items)]]


def _index_count(spec: OpSpec, shapes: tuple[Shape, ...], params: Mapping[str, Any]) -> int:
    """How many values an index may take: the length of the axis that it indexes (of the shortest, if none is named)."""
    if "int" not in spec.arguments:
        return 0
    if "axis" not in params:
        return min(shapes[0], default=0)
    axis = params["axis"]
    return math.prod(shapes[0]) if axis is None else shapes[0][axis]


def _expanded(interval: Interval, kinks: bool) -> Interval:
    """With MARGIN around it. Where kinks are welcome, an end on -1, 0 or 1 stays, so that a closed domain admits it."""
    lo = interval.lo if kinks and interval.lo in (-1.0, 0.0, 1.0) else interval.lo - MARGIN
    hi = interval.hi if kinks and interval.hi in (-1.0, 0.0, 1.0) else interval.hi + MARGIN
    return Interval(lo, hi)


def fitting(
    spec: OpSpec, intervals: Sequence[Interval], shapes: tuple[Shape, ...], params: Mapping[str, Any], kinks: bool
) -> Interval | None:
    """The image, where the arguments stay in the domain with room to spare and the image stays in the BOUND."""
    around = [i if i.is_point or spec.argument(k) != "float" else _expanded(i, kinks) for k, i in enumerate(intervals)]
    if not spec.admits(*around):
        return None
    if spec.result == "bool":
        return MASK
    image = spec.image(*intervals, shapes=shapes, **params)
    return image if image.magnitude <= BOUND else None


def guarded(spec: OpSpec, args: Sequence[Any]) -> list[Any]:
    """The arguments as the op's guard shapes them."""
    assert spec.guard is not None
    made = spec.guard(NUMPY, *args)
    return list(made) if isinstance(made, tuple | list) else [made]


TRIAL_ELEMENTS = 1 << 16
"""What is larger is not worth a trial: `tile` and `repeat` can ask for any size."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What an op makes of a few points of its domain.

    shape    of the result
    kink     its distance to a kink is 0 there: std of one element is 0 whatever the element is
    assumed  four times what came out, as an interval: the image of an op whose arguments a guard shapes, where
             intervals know nothing; `values` checks it
    """

    shape: Shape
    kink: bool
    assumed: Interval


TRIAL_POINTS = 6
"""So many points must agree before an op is called constant: sign of a scalar comes out equal on all once in 32 times,
and is exempt anyway, as an op that does not round."""


@lru_cache(maxsize=1 << 16)
def tried(
    op: str, shapes: tuple[Shape, ...], params: tuple[tuple[str, Any], ...], same: tuple[int, ...]
) -> Trial | None:
    """What shapes, parameters and repetition alone make of an op; `same[i]` is the first argument equal to the i-th.

    None where they do not fit the op, or make nonsense: the mean of no elements, an index into an axis without entries,
    a determinant beyond BOUND; or, by repetition or at a kink, a constant: cosine_similarity(x, x), x / x, std of one
    entry. The gradient of that is 0 as a difference of numbers that are not, so no relative error of it can be judged.
    """
    spec = OPS[op]
    try:
        shape = tuple(spec.shape(*shapes, **dict(params)))
    except ShapeError:
        return None
    if math.prod(shape) > TRIAL_ELEMENTS:
        return None
    rng = np.random.Generator(np.random.PCG64(1))
    intervals = (GUARDED,) * len(shapes) if shaped(spec) else next(iter(profiles(op, len(shapes))), None)
    if intervals is None or (_index_count(spec, shapes, dict(params)) == 0 and _indexes(spec, shapes)):
        return None
    suspect = any(k < i for i, k in enumerate(same)) or spec.kinks is not None
    judged = suspect and spec.ulps > 0 and spec.result == "float" and all(math.prod(s) for s in shapes)
    outs: list[np.ndarray] = []
    kink = False
    with np.errstate(all="ignore"):
        for _ in range(TRIAL_POINTS if judged else 1):
            args = _trial_point(spec, shapes, intervals, same, rng)
            outs.append(np.asarray(spec.define(NUMPY, *args, **dict(params))))
            if spec.kinks is not None and not kink:
                distance = np.asarray(spec.kinks(NUMPY, *args, **dict(params)))
                kink = bool(distance.size and np.min(distance) == 0)
    if not all(np.all(np.isfinite(o)) for o in outs):
        return None
    if judged and all(np.allclose(o, outs[0], rtol=1e-12, atol=1e-12) for o in outs):
        return None
    size = 2.0 ** math.ceil(math.log2(4 * float(np.max(np.abs(outs), initial=0.25))))
    if shaped(spec) and size > 4 * BOUND:
        return None
    return Trial(shape, kink, Interval(-min(size, BOUND), min(size, BOUND)))


def _trial_point(
    spec: OpSpec, shapes: tuple[Shape, ...], intervals: Sequence[Interval], same: tuple[int, ...], rng: Any
) -> list[Any]:
    args: list[Any] = []
    for i, (given, interval) in enumerate(zip(shapes, intervals)):
        kind = spec.argument(i)
        if same[i] != i and same[i] < len(args) and kind == spec.argument(same[i]):
            args.append(args[same[i]])
        elif kind == "float":
            args.append(rng.uniform(interval.lo, interval.hi, given))
        else:
            args.append(np.zeros(given, dtype=bool if kind == "bool" else np.int64))
    return guarded(spec, args) if shaped(spec) else args


def _first_equal(arguments: Sequence[Argument]) -> tuple[int, ...]:
    """For each argument, the first one that is the same node; leaves yet to be made are all different."""
    return tuple(arguments.index(a) if isinstance(a, int) else i for i, a in enumerate(arguments))


def _indexes(spec: OpSpec, shapes: tuple[Shape, ...]) -> bool:
    """Does an index array with entries occur among the arguments?"""
    return any(spec.argument(i) == "int" and math.prod(s) > 0 for i, s in enumerate(shapes))


@lru_cache(maxsize=1024)
def profiles(op: str, arity: int) -> tuple[tuple[Interval, ...], ...]:
    """Intervals of the palette, one per argument, that the op admits: what its own leaves are drawn from."""
    spec = OPS[op]
    if arity <= 2:
        every: Iterable[tuple[Interval, ...]] = product(PALETTE, repeat=arity)
    else:
        every = ((p,) * arity for p in PALETTE)
    return tuple(
        p for p in every if spec.admits(*(_expanded(i, False) if spec.argument(k) == "float" else MASK
                                          for k, i in enumerate(p)))
    )  # fmt: skip


@lru_cache(maxsize=64)
def squashes(ops: tuple[str, ...]) -> tuple[str, ...]:
    """Smooth elementwise ops of one argument, defined on all that may occur: candidates for a map into a domain."""
    everything = Interval(-2 * BOUND, 2 * BOUND)
    return tuple(
        n
        for n in ops
        if (s := OPS[n]).arity == 1
        and not s.params
        and s.kinks is None
        and s.result == "float"
        and not shaped(s)
        and s.argument(0) == "float"
        and s.admits(everything)
        and s.image(Interval(-1.0, 1.0), shapes=((3,),)).is_bounded
        and _keeps_shape(s)
    )


def _keeps_shape(spec: OpSpec) -> bool:
    try:
        return all(tuple(spec.shape(s)) == s for s in ((), (3,), (2, 3)))
    except ShapeError:
        return False
