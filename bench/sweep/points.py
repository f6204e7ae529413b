"""The language of a sweep's table: points, values of inputs, and judgements of failing points.

A table is a module `bench/sweep/<framework>_functions.py` with

    NAMES        what a call may name: {"torch": torch, "F": torch.nn.functional}
    array(a)     a NumPy array as the framework's, in its dtype
    POINTS       the table
    JUDGEMENTS   what is to be said of the points that fail
    versions()   "torch 2.13.0+cpu"
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import mpmath
import numpy as np
from mpmath import mp

ORDINARY = "ordinary"

Ruling = Literal["wrong", "range", "precision", "by design", "ours"]
RULINGS: Mapping[Ruling, str] = {
    "wrong": "the framework is wrong",
    "range": "an intermediate of the framework's formula leaves the range of the dtype",
    "precision": "the framework's formula loses digits",
    "by design": "not the gradient of the function, by design",
    "ours": "gradverify is wrong",
}

DIGITS = 60
"""Decimal digits of the independent evidence."""


@dataclass(frozen=True)
class Point:
    """`call`, an expression in the inputs' names, where `inputs` (statements that assign them) put it.

    edge     what is unusual about the point
    options  of `gradverify.check`
    """

    function: str
    edge: str
    call: str
    inputs: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.function}, {self.edge}"

    @property
    def said(self) -> str:
        return f"{self.call} | {self.inputs}"


def at(function: str, ordinary: str, *edges: tuple[str, str], **options: Any) -> list[Point]:
    """A line of the table: a function at an ordinary point, and at edges.

    A point reads `call | inputs`, with statements parted by `;`; in a call `f` is the function. In an edge, what stands
    empty is the ordinary one's, and a point without a bar has inputs only. Without a call the function is called with
    its inputs in order.
    """
    call, _, inputs = ordinary.rpartition("|")
    inputs = inputs.strip()
    call = call.strip() or f"f({', '.join(assigned(inputs))})"
    found = [(ORDINARY, call, inputs)]
    for edge, text in edges:
        own, _, where = text.rpartition("|")
        found.append((edge, own.strip() or call, where.strip() or inputs))
    return [Point(function, edge, re.sub(r"\bf\(", f"{function}(", c), i, options) for edge, c, i in found]


SHARED = {
    "zero": ("0 and -0", "x = given(0., -0.)"),
    "large": ("large", "x = given(-1e8, 1e5, 1e8)"),
    "tiny": ("tiny", "x = given(1e-300, -1e-160, 1e-10)"),
    "tails": ("in the tails", "x = given(-30., -12., 12., 30.)"),
    "far": ("far in the tails", "x = given(-700., -100., 100., 700.)"),
    "halves": ("at halves", "x = given(-1.5, -.5, .5, 2.5)"),
    "integers": ("at integers", "x = given(-2., 1., 3.)"),
}
"""Edges that many functions of one argument share, by their names in a `+` line."""


def parsed(text: str) -> list[Point]:
    """A table:

        torch.exp, torch.exp2: x = real(5)
            + layouts, zero
            underflow: x = given(-740., -1100.)
        torch.clamp: f(x, -1., 1.) | x = real(7)
            max only: f(x, max=.5) |

    A line of functions with their ordinary point; below it, indented, an edge each. Points read as in `at`, with `f` for
    the function. A line with + has edges of SHARED and MADE.
    """
    points: list[Point] = []
    entries: list[tuple[str, list[tuple[str, str]]]] = []
    for line in text.splitlines():
        if not line.strip():
            continue
        if not line[0].isspace():
            entries.append((line, []))
            continue
        mark, _, rest = line.strip().partition(" ")
        if mark != "+":
            edge, _, point = line.strip().partition(": ")
            entries[-1][1].append((edge, point))
            continue
        for name in rest.split(", "):
            entries[-1][1].extend(MADE[name](entries[-1][0]) if name in MADE else [SHARED[name]])
    for line, edges in entries:
        names, _, ordinary = line.partition(": ")
        for function in names.split(", "):
            points += at(function.strip(), ordinary.strip(), *edges)
    return points


def _layouts(line: str) -> list[tuple[str, str]]:
    """The points of every elementwise function of one x with 5 entries."""
    call, _, inputs = line.partition(": ")[2].rpartition("|")
    call = call.strip() or "f(x)"
    assert re.search(r"\b5\)", inputs), line
    strided = lambda view: re.sub(r"\bx\b", f"x{view}", call)
    shaped = lambda shape: re.sub(r"(, )?\b5\)", f"\\g<1>{shape})" if shape else ")", inputs)
    return [
        ("0-d", shaped("")),
        ("empty", shaped("0")),
        ("transposed", f"{strided('.T')} | {shaped('2, 3')}"),
        ("every second entry", f"{strided('[::2]')} | {shaped('6')}"),
    ]


def _reductions(line: str) -> list[tuple[str, str]]:
    """A loss of two arguments and more, with PyTorch's `reduction`."""
    inputs = line.partition(": ")[2]
    call = f"f({', '.join(assigned(inputs))}, reduction="
    return [(f"reduction='{how}'", f"{call}'{how}') |") for how in ("sum", "none")]


MADE: Mapping[str, Callable[[str], list[tuple[str, str]]]] = {"layouts": _layouts, "reductions": _reductions}


def assigned(inputs: str) -> list[str]:
    """The names that the statements assign, in order: the arguments."""
    names = []
    for statement in ast.parse(inputs).body:
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            raise ValueError(f"inputs are assignments, got {ast.unparse(statement)!r}")
        names.append(statement.targets[0].id)
    return names


def called(point: Point, table: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The function of the point's inputs, and the inputs."""
    names: dict[str, Any] = {**Values(), **table.NAMES}
    exec(point.inputs, names)  # the table is code of ours
    inputs = assigned(point.inputs)
    args = tuple(table.array(v) if isinstance(v, np.ndarray | np.generic) else v for v in (names[n] for n in inputs))
    fn = eval(f"lambda {', '.join(inputs)}: {point.call}", {**names, **table.NAMES})
    fn.__name__ = fn.__qualname__ = point.function
    return fn, args


# ---- values ---------------------------------------------------------------------------------------------------------


class Values(Mapping[str, Any]):
    """The vocabulary of inputs: float64 and int64 NumPy arrays, the same ones at every run."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(7)
        names = [n for n in dir(self) if not n.startswith("_") and n not in ("rng", "keys", "values", "items", "get")]
        self._names = {n: getattr(self, n) for n in names} | {"np": np, "inf": np.inf, "pi": np.pi}

    def __getitem__(self, name: str) -> Any:
        return self._names[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def real(self, *shape: int) -> np.ndarray:
        """Both signs, sizes 0.1 to 3, no two alike."""
        return self.within(0.1, 3.0, *shape) * self.rng.choice([-1.0, 1.0], shape)

    def positive(self, *shape: int) -> np.ndarray:
        return self.within(0.1, 3.0, *shape)

    def unit(self, *shape: int) -> np.ndarray:
        """In (-1, 1)."""
        return self.within(-0.95, 0.95, *shape)

    def chance(self, *shape: int) -> np.ndarray:
        """In (0, 1)."""
        return self.within(0.05, 0.95, *shape)

    def within(self, low: float, high: float, *shape: int) -> np.ndarray:
        """Evenly spread over (low, high), in a random order: no ties."""
        n = int(np.prod(shape, dtype=int))
        steps = (self.rng.permutation(n) + self.rng.uniform(0.2, 0.8, n)) / max(n, 1)
        return (low + (high - low) * steps).reshape(shape)

    def ints(self, stop: int, *shape: int) -> np.ndarray:
        return self.rng.integers(0, stop, shape)

    def mask(self, *shape: int) -> np.ndarray:
        return (np.arange(int(np.prod(shape, dtype=int))) % 3 != 1).reshape(shape)

    def given(self, *values: Any) -> np.ndarray:
        """These values; nested lists for matrices."""
        return np.array(values[0] if len(values) == 1 and isinstance(values[0], list) else values, dtype=np.float64)

    def whole(self, *values: Any) -> np.ndarray:
        return np.array(values[0] if len(values) == 1 and isinstance(values[0], list) else values, dtype=np.int64)

    def scalar(self, x: float) -> np.ndarray:
        return np.array(float(x))

    def single(self, x: np.ndarray) -> np.ndarray:
        return x.astype(np.float32)

    def zeros(self, *shape: int) -> np.ndarray:
        return np.zeros(shape)

    def ones(self, *shape: int) -> np.ndarray:
        return np.ones(shape)

    def eye(self, n: int) -> np.ndarray:
        return np.eye(n)

    def regular(self, *shape: int) -> np.ndarray:
        """Square matrices far from singular, eigenvalues apart."""
        return self.unit(*shape) + np.diag(2.0 + np.arange(shape[-1]))

    def symmetric(self, *shape: int) -> np.ndarray:
        a = self.regular(*shape)
        return a + np.swapaxes(a, -1, -2)

    def spd(self, *shape: int) -> np.ndarray:
        """Symmetric, positive definite."""
        a = self.unit(*shape)
        return a @ np.swapaxes(a, -1, -2) + np.eye(shape[-1])


# ---- judgements -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judgement:
    """A ruling on some failing points, with evidence that owes nothing to gradverify.

    functions  the functions that it explains, and `edges` the edges (all where empty)
    ruling     of RULINGS
    code       a script whose last line is an expression: the framework's own number. Run over the table's NAMES
    want       the same number as an expression in mpmath's names, at DIGITS digits; or a script, like `code`
    why        what the framework does
    """

    functions: tuple[str, ...]
    ruling: Ruling
    why: str
    code: str
    want: str
    edges: tuple[str, ...] = ()

    def explains(self, function: str, edge: str) -> bool:
        return function in self.functions and (not self.edges or edge in self.edges)

    def evidence(self, names: Mapping[str, Any]) -> tuple[Any, Any]:
        """The framework's number, or its exception, and the true number."""
        with mp.workdps(DIGITS):
            own = {n: getattr(mpmath, n) for n in dir(mpmath) if not n.startswith("_")}
            want = mp.mpf(last(self.want, own))
            try:
                return mp.mpf(float(last(self.code, dict(names)))), want
            except Exception as e:
                return f"{type(e).__name__}: {str(e).splitlines()[0].partition(': [')[0]}", want

    def shown(self, names: Mapping[str, Any]) -> tuple[str, bool]:
        """The evidence as a sentence, and whether it shows an error: of more than a rounding, whatever the dtype."""
        got, want = self.evidence(names)
        true = f"mpmath: {mp.nstr(want, 20)}"
        if isinstance(got, str):
            return f"{got}; {true}", True
        with mp.workdps(DIGITS):
            off = abs(got - want) / (abs(want) or 1)
        size = f"off by {mp.nstr(off, 2)}{' relative' if want else ''}" if mp.isfinite(off) else "not finite"
        return f"{mp.nstr(got, 17)}; {true}, {size}", not off <= 2.0**-50


def last(script: str, names: dict[str, Any]) -> Any:
    """The value of the script's last line."""
    *before, expression = ast.parse(script).body
    assert isinstance(expression, ast.Expr), script
    exec(compile(ast.Module(before, []), "<judgement>", "exec"), names)
    return eval(compile(ast.Expression(expression.value), "<judgement>", "eval"), names)
