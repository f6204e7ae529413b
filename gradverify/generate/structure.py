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

from ..core.errors import UnknownName
from ..core.graph import Apply, Constant, Graph, Input, Node
from ..core.interval import Interval
from ..core.op import VARIADIC, Kind, OpSpec, Shape
from ..ops import OPS
from ..ops.build import GraphBuilder
from .digits import Digits
from .fitting import GUARDED, MASK, NO_PROFILE, companions, fitting, index_count, profiles, shaped, squashes, tried
from .params import draws

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
    """The limits of a drawn graph. `ops` are names of the op table, simplest first; see `limits`."""

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
    """The ops of a graph whose limits name none."""
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
    """A graph, and the facts about its values that hold before any is drawn.

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
        """Append `spec` on arguments that fit it; None where none do."""
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
        """Yield candidates for the first argument: mostly the newest node, then any other, then new leaves."""
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
        count = index_count(spec, shapes, params)
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
        """Map node `k` by one more op, so that it is `admitted`.

        The op is smooth, a product with a power of two, or a sum with a number that brings the node near `target`. One
        op only, so that a failure shrinks to 4 nodes.
        """
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
        """The plan of the nodes that the outputs need, inputs renamed x0, x1, …, with all facts about them.

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


def _rotated(items: Sequence[Any], start: int) -> Sequence[Any]:
    """Most starts are the beginning, so that the first item stays the usual one."""
    start = start - 9
    return items if start <= 0 or not items else [*items[start % len(items) :], *items[: start % len(items)]]


def _first_equal(arguments: Sequence[Argument]) -> tuple[int, ...]:
    """For each argument, the first one that is the same node; leaves yet to be made are all different."""
    return tuple(arguments.index(a) if isinstance(a, int) else i for i, a in enumerate(arguments))
