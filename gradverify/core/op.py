"""One declaration per op: the single source that engine, oracle, budget, generator, spec language and docs read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from .errors import ShapeError
from .interval import REAL, Domain, Interval, admits

Shape = tuple[int, ...]
Kind = Literal["float", "int", "bool", "complex"]

REQUIRED: Any = type("Required", (), {"__repr__": lambda self: "required"})()

ParamKind = Literal[
    "axis", "axes", "bool", "int", "float", "shape", "perm", "index", "string", "choice", "ints", "pads"
]


@dataclass(frozen=True, slots=True)
class Param:
    """A keyword parameter of an op, as plain data: what the spec language checks and the generator draws.

    kinds: `axis` an int in [-ndim, ndim) (None where `optional`), `axes` the same or a tuple of distinct ones,
    `perm` a permutation of the axes, `index` what stands in x[...], `pads` one (before, after) pair per axis,
    `choice` one of `choices`; the others are what they say. `lo`/`hi` bound ints and floats.
    """

    kind: ParamKind
    default: Any = REQUIRED
    optional: bool = False
    lo: float | None = None
    hi: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def required(self) -> bool:
        return self.default is REQUIRED


class Array(Protocol):
    """An array of whatever namespace reads a text: of floats, balls, tensors, or a node under construction."""

    @property
    def shape(self) -> Shape: ...

    def __add__(self, other: Any, /) -> Array: ...
    def __radd__(self, other: Any, /) -> Array: ...
    def __sub__(self, other: Any, /) -> Array: ...
    def __rsub__(self, other: Any, /) -> Array: ...
    def __mul__(self, other: Any, /) -> Array: ...
    def __rmul__(self, other: Any, /) -> Array: ...
    def __truediv__(self, other: Any, /) -> Array: ...
    def __rtruediv__(self, other: Any, /) -> Array: ...
    def __pow__(self, other: Any, /) -> Array: ...
    def __rpow__(self, other: Any, /) -> Array: ...
    def __matmul__(self, other: Any, /) -> Array: ...
    def __neg__(self) -> Array: ...


class Words(Protocol):
    """The argument `xp` of a definition: the kernels of `namespaces.base` under their names, over one kind of array."""

    def shape(self, x: Any, /) -> Shape: ...
    def __getattr__(self, kernel: str, /) -> Callable[..., Array]: ...


class Vocabulary(Words, Protocol):
    """The argument `xp` of a rule: the kernels, and the constants."""

    @property
    def pi(self) -> Array: ...
    @property
    def ln2(self) -> Array: ...
    @property
    def ln10(self) -> Array: ...
    @property
    def sqrt2(self) -> Array: ...


# (xp, *args, **params) -> array, of the kind that `xp` has: the mathematics.
Define = Callable[..., Any]
# (xp, g, out, *args, **params) -> the cotangent of one argument; None for an argument that has none (indices, masks).
ArgumentVjp = Callable[..., Array] | None
# One per argument; or, for ops of any arity, one function (xp, i, g, out, *args, **params) for the i-th argument;
# or None: the op is a composition, and its VJP is that of its definition, op by op.
Vjp = tuple[ArgumentVjp, ...] | Callable[..., Array] | None

VARIADIC = -1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpSpec:
    """An op: what it computes, how its cotangents flow, where it is defined and where it is not smooth.

    name      Array API name; where the standard has none, PyTorch's or JAX's name for the same mathematics
    arity     number of array arguments; VARIADIC for concat, stack, einsum
    define    (xp, *args, **params) -> array
    vjp       see `Vjp`. Must be the numerically best form: what the formula loses, the budget would excuse
    primitive `define` is one kernel that every namespace provides under the op's own name
    broadcasts  arguments broadcast; whoever runs a VJP sums its cotangents back to the arguments' shapes (`cotangent`)
    domain    per argument, the reals that it accepts (a union of intervals)
    joint     (*intervals) -> bool, instead of `domain` where the arguments constrain each other
    image     (*intervals, shapes=..., **params) -> Interval that holds every value of the result
    shape     (*shapes, **params) -> Shape; raises ShapeError
    kinks     (xp, *args, **params) -> array of distances to the nearest non-smooth point; None = smooth in its domain
    ulps      largest error of a careful floating-point implementation, in ulps of the result (0 = exact, 0.5 =
              correctly rounded). Reductions add their own accumulation term, see `judge.budget`
    result    element kind of the result
    arguments element kind of each argument (a short tuple repeats its last entry)
    generate  may random graphs contain it? False where arguments need structure that intervals cannot express
    guard     (xp, *args) -> args of the same shapes that lie in the domain: for tests and for the generator, where
              the domain needs structure (a positive definite matrix); None otherwise
    aliases   what others call it; for "did you mean" and the docs
    example   an expression of the spec language
    """

    name: str
    define: Define
    doc: str
    example: str
    arity: int = 1
    vjp: Vjp = None
    primitive: bool = False
    broadcasts: bool = False
    domain: tuple[Domain, ...] = (REAL,)
    joint: Callable[..., bool] | None = None
    image: Callable[..., Interval] = lambda *intervals, **_: Interval()
    shape: Callable[..., Shape]
    kinks: Callable[..., Array] | None = None
    ulps: float = 0.5
    params: Mapping[str, Param] = field(default_factory=dict)
    result: Kind = "float"
    arguments: tuple[Kind, ...] = ("float",)
    generate: bool = True
    guard: Callable[..., Any] | None = None
    aliases: tuple[str, ...] = ()

    @property
    def composite(self) -> bool:
        """Is the op's VJP that of its definition, op by op?"""
        return self.vjp is None and self.result == "float"

    def argument(self, i: int) -> Kind:
        return self.arguments[min(i, len(self.arguments) - 1)]

    def differentiable(self, i: int) -> bool:
        """Does argument `i` have a cotangent?"""
        if self.result != "float" or self.argument(i) != "float":
            return False
        return self.vjp[i] is not None if isinstance(self.vjp, tuple) else True

    def admits(self, *intervals: Interval) -> bool:
        """Do arguments from these intervals stay in the domain?"""
        if self.joint is not None:
            return self.joint(*intervals)
        domains = self.domain + (self.domain[-1],) * (len(intervals) - len(self.domain))
        return all(admits(d, i) for d, i in zip(domains, intervals))

    def cotangent(
        self,
        xp: Vocabulary,
        i: int,
        g: Array,
        out: Array,
        args: tuple[Any, ...],
        params: Mapping[str, Any],
        dead: Any = None,
    ) -> Any:
        """The cotangent of argument `i`, in that argument's shape. Not for composite ops.

        `dead`, for an elementwise op, is a mask of g's shape, true where g is 0 in exact arithmetic: a rule that has no
        number there (0·inf) has a 0. One that has, keeps it: a g that is 0 because terms cancel is another one in floats.
        """
        if isinstance(self.vjp, tuple):
            rule = self.vjp[i]
            assert rule is not None, f"argument {i} of {self.name} has no cotangent"
            result = rule(xp, g, out, *args, **params)
        else:
            assert self.vjp is not None, f"{self.name} is a composition: differentiate its definition"
            result = self.vjp(xp, i, g, out, *args, **params)
        if dead is not None:
            none = xp.logical_and(dead, xp.logical_not(xp.isfinite(result)))
            result = xp.where(none, xp.zeros(xp.shape(g), result), result)
        return xp.sum_to(result, xp.shape(args[i])) if self.broadcasts else result


def bind_params(spec: OpSpec, given: Mapping[str, Any]) -> dict[str, Any]:
    """The op's parameters with defaults filled in.

    Raises ShapeError for unknown or missing ones, and for values of the wrong type; ranges that depend on shapes are
    the shape rule's business.
    """
    for name in given:
        if name not in spec.params:
            known = ", ".join(spec.params) or "none"
            raise ShapeError(f"{spec.name} has no parameter {name!r} (it has: {known})")
    bound = {}
    for name, param in spec.params.items():
        if name in given:
            bound[name] = _check_value(spec, name, param, given[name])
        elif param.required:
            raise ShapeError(f"{spec.name} needs the parameter {name!r}")
        else:
            bound[name] = param.default
    return bound


def split_arguments(spec: OpSpec, args: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A call's arrays, and its positional parameters by name.

    Parameters follow the arrays in table order; a variadic op takes its arrays as one list where parameters follow, and a
    text (the subscripts of an einsum) before them.
    """
    if spec.arity != VARIADIC:
        arrays, rest = args[: spec.arity], args[spec.arity :]
    elif args and isinstance(args[0], list | tuple):
        arrays, rest = args[0], args[1:]
    elif args and isinstance(args[0], str):
        arrays, rest = args[1:], args[:1]
    else:
        arrays, rest = args, ()
    return tuple(arrays), dict(zip(spec.params, rest))


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_value(spec: OpSpec, name: str, param: Param, value: Any) -> Any:
    if isinstance(value, list):
        value = tuple(value)
    if value is None and (param.optional or param.default is None):
        return None
    kind = param.kind
    if kind == "float" and _is_int(value):
        value = float(value)
    fine = {
        "axis": lambda: _is_int(value),
        "axes": lambda: _is_int(value) or _ints(value),
        "bool": lambda: isinstance(value, bool),
        "int": lambda: _is_int(value),
        "float": lambda: isinstance(value, float),
        "shape": lambda: _ints(value),
        "perm": lambda: _ints(value),
        "ints": lambda: _ints(value),
        "string": lambda: isinstance(value, str),
        "choice": lambda: value in param.choices,
        "index": lambda: True,
        "pads": lambda: isinstance(value, tuple) and all(_ints(p) and len(p) == 2 for p in value),
    }[kind]()
    if not fine:
        wanted = f"one of {', '.join(param.choices)}" if kind == "choice" else f"of kind {kind}"
        raise ShapeError(f"{spec.name}: {name} must be {wanted}, got {value!r}")
    if kind in ("int", "float") and (
        (param.lo is not None and value < param.lo) or (param.hi is not None and value > param.hi)
    ):
        raise ShapeError(f"{spec.name}: {name}={value!r} is outside [{param.lo}, {param.hi}]")
    return value


def _ints(value: Any) -> bool:
    return isinstance(value, tuple) and all(_is_int(v) for v in value)
