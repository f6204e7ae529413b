"""Random complex graphs: packed integers to graphs of complex ops, kept away from cuts, poles and overflow.

The one idea: every node has a rectangle that holds its values. An op that has a cut or a pole gets its argument moved, by
a literal that is added, into the half plane Re >= 1/2, or scaled, by a power of two, into a small disc around 0; so there
is no point of which two libraries may disagree on the side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from ..core.case import Case, Source
from ..core.errors import ShapeError
from ..core.graph import Graph
from ..core.interval import Interval
from ..core.op import Kind, Shape
from ..namespaces.dtypes import PRECISION, numpy_dtype, rounded
from ..ops.complex.lowering import ComplexBuilder
from .digits import Digits
from .fitting import BOUND, GENERAL
from .structure import Limits
from .values import COTANGENTS, STYLES

SHAPES: tuple[Shape, ...] = ((3,), (2, 3), (), (2, 2), (4,), (3, 2), (1,), (2, 1), (2, 2, 2), (5,), (1, 3), (2, 4))

RIGHT = 0.5
"""Arguments of ops with a cut or a pole have at least this real part."""

BEYOND_ONE = 1.5
"""And those of logarithms this one: nearer to the unit circle XLA's log is made of its log1p, which is off by up to 240 u
on a part of its range (`docs/findings.md`)."""

DISC = 0.5
"""Those of inverse functions have parts up to this: |z| <= 0.71 is off the cuts, which begin at distance 1."""

STRIP = 1.0
"""Those of tan and tanh, whose poles are at distance pi/2."""

LITERALS = (2 - 1j, 0.5j, -1 + 0.25j, 1 + 0j, 3j, -0.5 - 2j)
EXPONENTS = (2.0, 3.0, 0.5, -1.0, 2.5, -1.5, 1.25 - 0.5j)


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle; of a real node, `im` is 0."""

    re: Interval
    im: Interval = Interval(0.0, 0.0)

    @property
    def modulus(self) -> float:
        return math.hypot(self.re.magnitude, self.im.magnitude)

    def __add__(self, other: Region) -> Region:
        return Region(self.re + other.re, self.im + other.im)

    def __mul__(self, other: Region) -> Region:
        return Region(self.re * other.re - self.im * other.im, self.re * other.im + self.im * other.re)


def within(modulus: float, real: bool = False) -> Region:
    m = modulus * (1.0 + 2.0**-20)
    return Region(Interval(-m, m)) if real else Region(Interval(-m, m), Interval(-m, m))


# op -> the largest modulus of its values, given its argument's; by where the argument has to be.
ENTIRE: Mapping[str, Callable[[Region], float]] = MappingProxyType(
    {
        "exp": lambda z: math.exp(z.re.hi), "expm1": lambda z: math.exp(z.re.hi) + 1.0,
        "exp2": lambda z: 2.0**z.re.hi, "sin": lambda z: math.cosh(z.im.magnitude),
        "cos": lambda z: math.cosh(z.im.magnitude),
    }
)  # fmt: skip
HALF_PLANE: Mapping[str, Callable[[Region], float]] = MappingProxyType(
    {
        "log": lambda z: abs(math.log(z.modulus)) + 2.3, "sqrt": lambda z: math.sqrt(z.modulus),
        "reciprocal": lambda z: 1 / RIGHT, "rsqrt": lambda z: RIGHT**-0.5, "abs": lambda z: z.modulus,
        "angle": lambda z: 1.6, "log2": lambda z: 1.5 * (abs(math.log(z.modulus)) + 2.3),
        "log10": lambda z: abs(math.log(z.modulus)) + 2.3, "log1p": lambda z: abs(math.log(z.modulus + 1)) + 2.3,
        "vector_norm": lambda z: 7 * z.modulus,
    }
)  # fmt: skip
SMALL: Mapping[str, tuple[float, float]] = MappingProxyType(
    # op -> (how large the parts of its argument may be, how large it is then): for |z| <= 0.71 all inverse functions are
    # below 1.1; |tan| and |tanh| on the unit square are below sinh(1.42)/cos(1) = 3.7; the sigmoid's poles are at i pi
    {"asin": (DISC, 1.1), "acos": (DISC, 2.7), "atan": (DISC, 1.1), "asinh": (DISC, 1.1), "atanh": (DISC, 1.1),
     "tan": (STRIP, 3.7), "tanh": (STRIP, 3.7), "sigmoid": (2.0, 2.0)}
)  # fmt: skip
REAL_RESULT = ("abs", "angle", "vector_norm", "real", "imag")
LINEAR = ("conj", "negative", "real", "imag", "fft", "ifft")
MOVES = ("matrix_transpose", "flip", "roll", "getitem", "reshape", "expand_dims", "tril")
REDUCTIONS = ("sum", "mean", "cumulative_sum", "prod", "var")
BINARY = ("add", "multiply", "subtract", "divide", "matmul", "concat", "complex", "vecdot", "outer", "where", "polar")
OTHERS = ("square", "literal", "pow", "irfft", "rfft")

OPS: tuple[str, ...] = (
    "add", "multiply", "conj", "real", "imag", "literal", "abs", "exp", "square", "subtract", "sum", "matmul",
    *ENTIRE, *HALF_PLANE, *SMALL, *LINEAR, *MOVES, *REDUCTIONS, *BINARY, *OTHERS,
)  # fmt: skip
"""What the integers choose from; what stands twice is drawn twice as often. "literal" multiplies by a complex number.
Not sgn, of which JAX takes the gradient to be 0, and not sinh and cosh, which XLA makes of exponentials that cancel: every
search on JAX would end there. `specs/complex.grad.yaml` has them."""


class Planner:
    """A complex graph under construction."""

    def __init__(self, limits: Limits, base: Shape) -> None:
        self.limits, self.base = limits, base
        self.builder = ComplexBuilder()
        self.regions: dict[int, Region] = {}
        self.inputs: list[str] = []

    @property
    def ops(self) -> int:
        return len(self.regions) - len(self.inputs)

    # arguments

    def leaf(self, shape: Shape, kind: Kind) -> int:
        name = f"{'z' if kind == 'complex' else 'x'}{len(self.inputs)}"
        self.inputs.append(name)
        k = self.builder.input(name, shape, kind)
        self.regions[k] = Region(GENERAL, GENERAL if kind == "complex" else Interval(0.0, 0.0))
        return k

    def some(self, digits: Digits, kind: Kind = "complex", fits: Callable[[Shape], bool] = lambda s: True) -> int:
        """The newest node that fits, most often; or any other; or a new leaf."""
        found = [k for k in reversed(self.regions) if self.builder.kind(k) == kind and fits(self.builder.shape(k))]
        how = digits.take(8)
        if found and (how < 5 or len(self.inputs) >= self.limits.inputs):
            return found[0]
        if found and how < 7:
            return found[digits.take(len(found))]
        shapes = [s for s in (self.base, *SHAPES) if fits(s)]
        return self.leaf(shapes[digits.take(2) % len(shapes)] if shapes else self.base, kind)

    def partner(self, k: int, digits: Digits, kind: Kind = "complex") -> int:
        """A node that broadcasts with node k."""
        shape = self.builder.shape(k)
        return self.some(digits, kind, lambda s: s in (shape, ()) or (s == shape[-1:] and shape[-1:] != ()))

    def scaled(self, k: int, most: float) -> int:
        """Node k times a power of two, so that its parts are at most `most`."""
        region = self.regions[k]
        size = max(region.re.magnitude, region.im.magnitude)
        if size <= most:
            return k
        factor = 2.0 ** -math.ceil(math.log2(size / most))
        return self.put("multiply", k, self.builder.constant(factor), region=region * Region(Interval.point(factor)))

    def moved(self, k: int, least: float = RIGHT) -> int:
        """Node k plus a number, so that its real part is at least `least`."""
        region = self.regions[k]
        if region.re.lo >= least:
            return k
        by = math.ceil(4 * (least - region.re.lo)) / 4 + 0.25
        return self.put("add", k, self.builder.constant(by), region=region + Region(Interval.point(by)))

    # ops

    def put(self, op: str, *args: int, region: Region, **params: Any) -> int:
        k = self.builder.apply(op, *args, **params)
        if (
            math.prod(self.builder.shape(k)) > self.limits.max_elements
            or len(self.builder.shape(k)) > self.limits.max_rank
        ):
            raise ShapeError("too large for a random graph")
        self.regions[k] = region
        return self.scaled(k, BOUND)

    def place(self, op: str, digits: Digits) -> None:
        """Append `op` on arguments that suit it. Raises ShapeError where there are none."""
        if op in ENTIRE:
            k = self.scaled(self.some(digits), 2.0)
            self.put(op, k, region=within(ENTIRE[op](self.regions[k])))
        elif op in HALF_PLANE:
            k = self.moved(self.some(digits), BEYOND_ONE if op in ("log", "log2", "log10") else RIGHT)
            self.put(op, k, region=within(HALF_PLANE[op](self.regions[k]), real=op in REAL_RESULT))
        elif op in SMALL:
            most, size = SMALL[op]
            self.put(op, self.scaled(self.some(digits), most), region=within(size))
        elif op in BINARY:
            self.binary(op, digits)
        else:
            self.unary(op, digits)

    def binary(self, op: str, digits: Digits) -> None:
        b = self.builder
        if op in ("complex", "polar"):
            x = self.some(digits, "float")
            y = self.some(digits, "float", lambda s: s == b.shape(x))
            if op == "polar":
                x = self.moved(x)
            self.put(op, x, y, region=within(math.hypot(self.regions[x].modulus, self.regions[y].modulus)))
            return
        z = self.some(digits)
        shape = b.shape(z)
        if op in ("matmul", "outer"):
            rank = 1 if op == "outer" else 2
            if len(shape) != rank:
                z = self.some(digits, fits=lambda s: len(s) == rank)
                shape = b.shape(z)
            inner = (lambda s: len(s) == 1) if op == "outer" else (lambda s: len(s) in (1, 2) and s[0] == shape[-1])
            w = self.leaf((shape[-1],), "complex") if digits.take(4) == 0 else self.some(digits, fits=inner)
            terms = 1 if op == "outer" else shape[-1]
            self.put(op, z, w, region=within(terms * self.regions[z].modulus * self.regions[w].modulus))
        elif op in ("concat", "where", "vecdot"):
            w = self.some(digits, fits=lambda s: s == shape)
            size = max(self.regions[z].modulus, self.regions[w].modulus)
            if op == "where":
                pattern = _pattern(shape, digits.take(1 << 8))
                self.put(op, b.constant(pattern, "bool"), z, w, region=within(size))
            elif shape == ():
                raise ShapeError(f"{op} of scalars")
            elif op == "concat":
                self.put(op, z, w, axis=digits.take(len(shape)), region=within(size))
            else:
                self.put(op, z, w, region=within(shape[-1] * size * size))
        else:
            kind: Kind = "float" if digits.take(4) == 3 else "complex"
            w = self.partner(z, digits, kind)
            if op == "divide":
                w = self.moved(w)
            one, two = self.regions[z], self.regions[w]
            region = {"multiply": one * two, "divide": within(one.modulus / RIGHT),
                      "add": one + two, "subtract": within(one.modulus + two.modulus)}[op]  # fmt: skip
            self.put(op, z, w, region=region)

    def unary(self, op: str, digits: Digits) -> None:
        b = self.builder
        needs = {"matrix_transpose": 2, "tril": 2, "square": 0, "literal": 0, "pow": 0}.get(op, 0)
        if op in ("flip", "roll", "getitem", "cumulative_sum", "fft", "ifft", "rfft", "irfft"):
            needs = 1
        kind: Kind = "float" if op == "rfft" else "complex"
        k = self.some(digits, kind, lambda s: len(s) >= needs and (op != "irfft" or s[-1] > 1))
        shape, region = b.shape(k), self.regions[k]
        axis = digits.take(len(shape)) if shape else 0
        n, whole = (shape[axis] if shape else 1), within(region.modulus)
        if op in ("conj", "negative"):
            self.put(op, k, region=whole)
        elif op in ("real", "imag"):
            self.put(op, k, region=Region(region.re if op == "real" else region.im))
        elif op in ("fft", "ifft"):
            norm = ("backward", "ortho", "forward")[digits.take(3)]
            self.put(op, k, axis=axis, norm=norm, region=within(n * region.modulus))
        elif op == "rfft":
            self.put(op, k, n=(None, shape[-1] + 1)[digits.take(2)], region=within(n * region.modulus * 2))
        elif op == "irfft":
            self.put(op, k, n=(None, 2 * shape[-1] - 1)[digits.take(2)], region=within(2 * region.modulus, real=True))
        elif op in ("matrix_transpose", "tril"):
            self.put(op, k, region=whole)
        elif op == "flip":
            self.put(op, k, axis=axis, region=whole)
        elif op == "roll":
            self.put(op, k, shift=1 + digits.take(3), axis=axis, region=whole)
        elif op == "getitem":
            entry = ((None, None, 2), 0, (1, None, 1), (None, None, -1))[digits.take(4)]
            index = (*((None, None, None),) * axis, entry)
            if entry == (1, None, 1) and n == 1:
                raise ShapeError("nothing left")
            self.put(op, k, index=index, region=whole)
        elif op == "reshape":
            self.put(op, k, shape=(-1,), region=whole)
        elif op == "expand_dims":
            self.put(op, k, axis=axis, region=whole)
        elif op == "square":
            self.put(op, k, region=region * region)
        elif op == "literal":
            value = LITERALS[digits.take(len(LITERALS))]
            self.put("multiply", k, b.constant(value, "complex"), region=within(region.modulus * abs(value)))
        elif op == "pow":
            exponent = EXPONENTS[digits.take(len(EXPONENTS))]
            k = self.moved(self.scaled(k, 2.0))
            size = math.exp(abs(exponent) * (abs(math.log(self.regions[k].modulus)) + math.log(2.0) + math.pi / 2))
            literal = b.constant(exponent, "complex" if isinstance(exponent, complex) else "float")
            self.put(op, k, literal, region=within(size))
        else:
            self.reduction(op, k, None if digits.take(3) == 2 else axis if shape else None, digits.take(2) == 1)

    def reduction(self, op: str, k: int, axis: int | None, keepdims: bool) -> None:
        shape = self.builder.shape(k)
        n = math.prod(shape) if axis is None else shape[axis]
        if op == "cumulative_sum":
            axis = axis or 0
            self.put(op, k, axis=axis, region=within(shape[axis] * self.regions[k].modulus))
            return
        if op == "prod":
            k = self.scaled(k, 1.0)
            if n > 8:
                raise ShapeError("a product of too many")
        size = self.regions[k].modulus
        most = {"sum": n * size, "mean": size, "prod": size**n if size > 1 else 1.0, "var": 4 * size * size}[op]
        self.put(op, k, axis=axis, keepdims=keepdims, region=within(most, real=op == "var"))

    def finished(self, several: bool) -> Graph | None:
        if not self.ops:
            return None
        loose = [k for k in self.regions if not self._used(k) and k not in self.builder.graph(k).inputs.values()]
        ends = loose if several else loose[-1:]
        return self.builder.graph(*ends).pruned()

    def _used(self, k: int) -> bool:
        """By a node that was kept: one that came out too large is still in the builder."""
        return any(c in self.regions for c in self.builder.graph(k).consumers(k))


def _pattern(shape: Shape, bits: int) -> Any:
    """A literal mask."""
    flat = iter(bool(bits >> i % 8 & 1) for i in range(math.prod(shape)))

    def rows(rest: Shape) -> Any:
        return next(flat) if not rest else tuple(rows(rest[1:]) for _ in range(rest[0]))

    return rows(shape)


def allowed(limits: Limits, every: Sequence[str]) -> tuple[str, ...]:
    """The ops to draw from: all of them, or, where the limits name some, those among these. Raises ValueError for none."""
    if tuple(limits.ops) == tuple(every):
        return OPS
    chosen = tuple(op for op in OPS if op in limits.ops)
    if not chosen:
        raise ValueError(f"random complex graphs have none of the ops {', '.join(limits.ops)}")
    return chosen


def graph_of(ints: Sequence[int], limits: Limits, ops: Sequence[str]) -> Graph | None:
    """Decode `ints`: a head, then one per op. None where nothing could be placed, or nothing complex is left."""
    head = Digits(ints[0])
    several = head.take(2) == 1
    planner = Planner(limits, SHAPES[head.op(len(SHAPES))])
    for packed in ints[1:]:
        if planner.ops >= limits.max_ops:
            break
        digits = Digits(packed)
        try:
            planner.place(ops[digits.op(len(ops))], digits)
        except ShapeError:  # no arguments of the right shape: the next integer
            continue
    graph = planner.finished(several)
    if graph is None or not any(n.kind == "complex" for n in graph.nodes):
        return None
    return _without_idle_inputs(graph)


def _without_idle_inputs(graph: Graph) -> Graph:
    from ..core.graph import Apply, Input

    keep = [k for k, n in enumerate(graph.nodes) if not (isinstance(n, Input) and k not in graph.active)]
    new = {old: k for k, old in enumerate(keep)}
    nodes = tuple(
        Apply(n.op, tuple(new[a] for a in n.args), n.params, n.shape, n.kind) if isinstance(n, Apply) else n
        for n in (graph.nodes[k] for k in keep)
    )
    return Graph(nodes, tuple(new[o] for o in graph.outputs))


def fill(graph: Graph, seed: int, head: int, dtype: str) -> Case:
    """Values and cotangents of both parts, in the styles of real ones; `dtype` is complex64 or complex128."""
    precision = PRECISION[dtype]
    rng = np.random.Generator(np.random.PCG64(seed))
    values: dict[str, np.ndarray] = {}
    for name, k in graph.inputs.items():
        node = graph.nodes[k]
        draw = STYLES[rng.integers(len(STYLES))]
        parts = [draw(rng, GENERAL, node.shape) for _ in range(2 if node.kind == "complex" else 1)]
        values[name] = _joined(parts, precision)
    style = COTANGENTS[head % len(COTANGENTS)]
    cotangent = tuple(
        _joined(
            [style(rng, graph.nodes[o].shape) for _ in range(2 if graph.nodes[o].kind == "complex" else 1)], precision
        )
        for o in graph.outputs
    )
    return Case(f"random-{seed}", graph, values, cotangent, precision, tuple(graph.inputs),
                source=Source("generated", seed=seed))  # fmt: skip


def _joined(parts: list[np.ndarray], precision: str) -> np.ndarray:
    if len(parts) == 1:
        return rounded(parts[0], precision)
    return np.array(parts[0] + 1j * parts[1], dtype=numpy_dtype(precision, "complex"))


def decode(ints: Sequence[int], seed: int, dtype: str, limits: Limits, every: Sequence[str]) -> Case | None:
    """The complex case that `ints` and `seed` stand for; see `campaign.decode`."""
    graph = graph_of(ints, limits, allowed(limits, every))
    return None if graph is None else fill(graph, seed, Digits(ints[0]).take(1 << 12), dtype)
