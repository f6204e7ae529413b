"""The registry of kernels: one record for each primitive of the vocabulary, with one column for each kind of array.

The op table says what a primitive means; its kernels say how it is computed over NumPy and CuPy arrays (`numpy`), over
Arb balls (`balls`) and mpmath numbers (`mp`), and by how much its floating-point result may be off (`nudge`, what the
budget does to it). A record without one of them is refused here, at import; a namespace that has no kernel for a record
that promises one is refused when that namespace's module is imported (`require`).

A third party's op is declared by `register_op(spec, kernel)`, in a conftest or by the entry point `gradverify.ops`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, fields
from enum import Enum
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any, Literal

from .. import ops
from ..core.op import OpSpec
from ..ops import FAMILIES, OPS


class Own(Enum):
    """Where a namespace of ours has the kernel of a record."""

    UFUNC = "the module's ufunc of that name"
    METHOD = "a method of the namespace's class"
    SCALAR = "an entry of its table of functions of one number, mapped over entries"
    NUMPY = "NumPy's kernel, which moves or compares objects as it does floats"


class Nudge(Enum):
    """The error model of a result (the derivations stand in `judge.budget`)."""

    EXACT = "moves, chooses or negates entries: no error"
    CHOICE = "one of the operands as it stands; which one is a decision"
    STEP = "a whole number; which one is a decision"
    DECISION = "booleans or indices, which are decisions"
    LOGIC = "booleans that follow from other booleans, or from the range"
    ULPS = "2·ulps·a·|result|, with the declared `ulps`"
    ADDITION = "the same, and no error where the sum is exact"
    SUM = "√(n-1)·a·Σ|terms|"
    PRODUCT = "√(n-1)·u·|result|"
    BACKWARD = "the exact result for a matrix moved as backward stability allows"
    TEXT = "its text is made of operators, each of which is nudged"


Column = Literal["numpy", "balls", "mp"]
Run = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Kernel:
    """How one primitive is computed.

    name    the op's
    numpy   a function of NumPy arrays (and CuPy's, if it is to run there)
    balls   a function of Arb balls, one number for each argument, mapped over the arrays' entries
    mp      the same of mpmath numbers
    nudge   the error model of the float result; or a function (noise, out, *args, **params) -> the nudged result

    Parameters are passed on by keyword. Our own records say `Own` where a namespace has the kernel itself.
    """

    name: str
    numpy: Own | Run
    balls: Own | Run
    mp: Own | Run
    nudge: Nudge | Run

    def __post_init__(self) -> None:
        for column in fields(self)[1:]:
            value = getattr(self, column.name)
            if not isinstance(value, Nudge if column.name == "nudge" else Own) and not callable(value):
                raise TypeError(f"the kernel {self.name} has no {column.name}: {value!r}")


_KERNELS: dict[str, Kernel] = {}
KERNELS: Mapping[str, Kernel] = MappingProxyType(_KERNELS)
"""Name of a primitive -> its kernels."""

UNDECLARED = frozenset(("isfinite",))
"""Kernels of the vocabulary that are no op: rules ask, graphs do not."""


def _rows(names: str, numpy: Own, oracle: Own, nudge: Nudge) -> None:
    for name in names.split():
        _add(Kernel(name, numpy, oracle, oracle, nudge))


def _add(kernel: Kernel) -> None:
    name, spec = kernel.name, OPS.get(kernel.name)
    if name in _KERNELS:
        raise ValueError(f"two kernels for {name!r}")
    if (spec is None or not spec.primitive) and name not in UNDECLARED:
        raise ValueError(f"a kernel for {name!r}, which is no primitive op")
    if spec is not None and not callable(kernel.nudge):
        _require_agreement(spec, kernel.nudge)
    _KERNELS[name] = kernel


_ERRING = frozenset((Nudge.ULPS, Nudge.ADDITION, Nudge.SUM, Nudge.PRODUCT, Nudge.BACKWARD, Nudge.TEXT))


def _require_agreement(spec: OpSpec, nudge: Nudge) -> None:
    """Raise ValueError where the error model contradicts the op's result or its declared accuracy."""
    if spec.result == "float" and (nudge in _ERRING) != (spec.ulps > 0):
        raise ValueError(f"{spec.name} declares an error of {spec.ulps} ulps, its kernel: {nudge.value}")
    if (spec.result == "float") == (nudge in (Nudge.DECISION, Nudge.LOGIC)):
        raise ValueError(f"{spec.name} has a result of kind {spec.result}, its kernel: {nudge.value}")


# What is computed entry by entry.
_rows("add subtract", Own.UFUNC, Own.SCALAR, Nudge.ADDITION)
_rows(
    "multiply divide pow square sqrt reciprocal exp exp2 expm1 log log1p log2 log10 sin cos tan asin acos atan sinh cosh "
    "tanh asinh acosh atanh atan2 hypot",
    Own.UFUNC, Own.SCALAR, Nudge.ULPS,
)  # fmt: skip
_rows(
    "erf erfc erfinv lgamma digamma polygamma erfcx ierfcx log_ndtr sinc dsinc bessel_i squareplus",
    Own.METHOD, Own.SCALAR, Nudge.ULPS,
)  # fmt: skip
_rows("negative abs", Own.UFUNC, Own.SCALAR, Nudge.EXACT)
_rows("maximum minimum", Own.UFUNC, Own.SCALAR, Nudge.CHOICE)
_rows("sign floor ceil trunc", Own.UFUNC, Own.SCALAR, Nudge.STEP)
_rows("round", Own.METHOD, Own.SCALAR, Nudge.STEP)
_rows("equal not_equal less less_equal greater greater_equal", Own.UFUNC, Own.METHOD, Nudge.DECISION)
_rows("logical_and logical_or logical_not", Own.UFUNC, Own.NUMPY, Nudge.LOGIC)
_rows("isfinite", Own.UFUNC, Own.METHOD, Nudge.LOGIC)
_rows("where", Own.METHOD, Own.METHOD, Nudge.EXACT)
# Reductions.
_rows("sum cumulative_sum", Own.METHOD, Own.METHOD, Nudge.SUM)
_rows("prod cumulative_prod", Own.METHOD, Own.METHOD, Nudge.PRODUCT)
_rows("max min", Own.METHOD, Own.METHOD, Nudge.CHOICE)
_rows("any all", Own.METHOD, Own.NUMPY, Nudge.LOGIC)
_rows("argmax argmin argsort", Own.METHOD, Own.METHOD, Nudge.DECISION)
# What moves entries.
_rows(
    "reshape permute_dims matrix_transpose expand_dims squeeze broadcast_to flip roll pad diagonal take take_along_axis",
    Own.METHOD, Own.NUMPY, Nudge.EXACT,
)  # fmt: skip
_rows("concat stack tril triu getitem embed", Own.METHOD, Own.METHOD, Nudge.EXACT)
_rows("index_add scatter_add", Own.METHOD, Own.NUMPY, Nudge.SUM)
# Linear algebra.
_rows("matmul einsum", Own.METHOD, Own.METHOD, Nudge.SUM)
_rows("det inv solve cholesky", Own.METHOD, Own.METHOD, Nudge.BACKWARD)
_rows("solve_triangular", Own.METHOD, Own.METHOD, Nudge.TEXT)


_ELEMENTWISE = {s.name for family in ("elementwise", "special") for s in FAMILIES[family]}
ELEMENTWISE: Set[str] = _ELEMENTWISE
"""Ops whose entry depends on one entry of each argument: those of two families, and registered primitives."""


def names(column: str, own: Own) -> tuple[str, ...]:
    """The primitives whose record says `own` in a column."""
    return tuple(k.name for k in KERNELS.values() if getattr(k, column) is own)


def require(column: Column, own: Own, provided: Iterable[str]) -> None:
    """Raise TypeError unless a namespace provides exactly the kernels of its column."""
    wanted, have = set(names(column, own)), set(provided)
    if wanted != have:
        missing, more = sorted(wanted - have), sorted(have - wanted)
        raise TypeError(
            f"the column {column!r} of the kernels, {own.value}: "
            f"missing {', '.join(missing) or 'none'}; without a record {', '.join(more) or 'none'}"
        )


def require_all() -> None:
    """Raise TypeError unless every primitive op has a record."""
    missing = sorted(n for n, s in OPS.items() if s.primitive and n not in KERNELS)
    if missing:
        raise TypeError(f"no kernel for {', '.join(missing)}")


GENERIC = (Nudge.EXACT, Nudge.STEP, Nudge.DECISION, Nudge.LOGIC, Nudge.ULPS)
"""The error models that need nothing but the result."""


def register_op(spec: OpSpec, kernel: Kernel | None = None) -> OpSpec:
    """Add a third party's op to the table; a primitive, which is elementwise, with its kernels.

    From then on specs, random graphs, the engine, oracle and budget know the op. Raises ValueError for a name that is
    taken, and TypeError where kernels are missing.
    """
    if spec.primitive != (kernel is not None):
        has = "a primitive: it needs kernels" if spec.primitive else "no primitive: its definition is its kernel"
        raise TypeError(f"the op {spec.name} is {has}")
    if kernel is None:
        return ops.declare(spec)
    if kernel.name != spec.name:
        raise ValueError(f"the kernels of {kernel.name!r} for the op {spec.name!r}")
    functions = not any(isinstance(f, Own) for f in (kernel.numpy, kernel.balls, kernel.mp))
    if not functions or not (callable(kernel.nudge) or kernel.nudge in GENERIC):
        models = ", ".join(n.name for n in GENERIC)
        raise TypeError(f"the kernels of {spec.name} must be functions, its nudge one too or one of {models}")
    ops.declare(spec)
    try:
        _add(kernel)
    except ValueError:
        ops.withdraw(spec.name)
        raise
    _ELEMENTWISE.add(spec.name)
    return spec


def unregister_op(name: str) -> None:
    """Take a third party's op out of the table again. Raises KeyError for any other name."""
    ops.withdraw(name)
    _KERNELS.pop(name, None)
    _ELEMENTWISE.discard(name)


GROUP = "gradverify.ops"


@cache
def load_registered() -> None:
    """Run the entry points of the group `gradverify.ops`, once: callables, or modules that register ops when imported.

    The packages that read the table (specs, random graphs, the oracle) ask for them; the engine alone does not, because
    to look for entry points costs as much as to import it.
    """
    for entry in entry_points(group=GROUP):
        loaded = entry.load()
        if callable(loaded):
            loaded()


require_all()
