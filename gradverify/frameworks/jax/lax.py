"""JAX's primitives in the words of the op table.

`MAPPED` is the table: primitive name → a function (xp, *args, **params) with the primitive's own parameters, where the
arguments are `Value`s. It returns the Value of the output, or a tuple for several; None in a tuple is an output without
a counterpart. Primitives that call a function (jit, custom_vjp_call, scan, …) are entered by `jax.py`. Integer
outputs are concrete and need no entry (see `base`).

What a primitive does to positions (gather, scatter, dynamic slices) is found by applying the primitive itself to the
numbers 0 to n - 1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import Undefined
from ...trace.decompositions import (
    Map,
    adjoint,
    along,
    at,
    cbrt,
    correlation,
    eigen,
    eigen_general,
    eliminated,
    entering,
    fmod,
    logical_xor,
    orthogonalised,
    padded,
    singular,
)
from ...trace.series import (
    bessel_i,
    gamma_slope,
    hurwitz_zeta,
    incomplete_beta,
    lower_gamma,
    upper_gamma,
)
from ...trace.value import Outputs, Value

if TYPE_CHECKING:
    from .tracer import JaxTracer

MAPPED: dict[str, Map] = {}
maps = entering(MAPPED)

CALLS = {
    "jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr", "call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr", "custom_vjp_call_jaxpr": "fun_jaxpr",
    "custom_vmap_call": "call", "checkpoint": "jaxpr", "remat2": "jaxpr", "remat": "jaxpr", "composite": "jaxpr",
    "stage": "jaxpr",
}  # fmt: skip
"""Primitives that run a jaxpr on their operands, and the parameter that holds it."""

CONTROL = {
    "cond": "cond", "while": "loop", "scan": "scan", "custom_linear_solve": "custom_linear_solve", "reduce": "fold",
}  # fmt: skip
"""Primitives that choose or repeat what they run, and the method of the walk that follows them."""


LIBRARY: dict[str, str] = {
    "sinc": "sinc", "i0": "bessel_i", "_i0": "bessel_i", "squareplus": "squareplus", "_erfcx": "erfcx",
    "log_ndtr": "log_ndtr", "logit": "logit", "det": "det",
}  # fmt: skip
"""JAX's own functions of one array that are ops of the table: the name of the function -> the op. Their formulas may
cancel where the op does not, which a budget of the formula would excuse; or decide (on pivots) where the op does not."""

LIBRARY_PAIRS: dict[str, Map] = {
    "slogdet": lambda xp, x, **_: (xp.sign(xp.det(x)), xp.logabsdet(x)),
}
"""JAX's own functions with several results that are ops of the table: the name of the function -> its mapping."""


def same(names: str) -> None:
    """Primitives `name` or `name=table_name` that the table knows as they are; their parameters are hints."""
    for entry in names.split():
        lax, _, op = entry.partition("=")
        MAPPED[lax] = direct(op or lax)


def direct(op: str) -> Map:
    """As the table's op of this name."""
    f: Any = lambda xp, *xs, **_: xp.call(op, *xs)
    f.op = op
    return f


# ---- elementwise ----------------------------------------------------------------------------------------------------

same(
    "abs neg=negative sign sqrt rsqrt square exp exp2 expm1 log log1p sin cos tan asin acos atan sinh cosh tanh asinh "
    "acosh atanh floor ceil logistic=sigmoid erf erfc erf_inv=erfinv lgamma digamma"
)
same("add add_any=add sub=subtract mul=multiply div=divide max=maximum min=minimum atan2")
same("lt=less le=less_equal gt=greater ge=greater_equal")
same("and=logical_and or=logical_or not=logical_not")


def compared(op: str) -> Map:
    """A value against itself, which asks whether it is NaN, has no kink; nor has one against an infinity."""

    def call(xp: JaxTracer, x: Value, y: Value) -> Value:
        nan = xp.eqn.invars[0] is xp.eqn.invars[1]
        infinite = any(v.array is not None and v.array.size and np.isinf(v.array).all() for v in (x, y))
        return xp.concrete(xp.output(0)) if nan or infinite else xp.call(op, x, y)

    return call


MAPPED["eq"], MAPPED["ne"] = compared("equal"), compared("not_equal")


maps("xor")(logical_xor)
maps("rem")(fmod)
maps("cbrt")(lambda xp, x, **_: cbrt(xp, x))  # its accuracy is a hint


@maps("is_finite")
def is_finite(xp: JaxTracer, x: Value) -> Value:
    return xp.concrete(xp.output(0))


@maps("pow")
def pow_(xp: JaxTracer, x: Value, y: Value) -> Value:
    return xp.pow(x, y)


@maps("integer_pow")
def integer_pow(xp: JaxTracer, x: Value, y: int) -> Value:
    known = {2: "square", -1: "reciprocal"}
    return xp.call(known[y], x) if y in known else x if y == 1 else xp.pow(x, y)


same("complex real imag conj")


@maps("fft")
def fft(xp: JaxTracer, x: Value, fft_type: Any, fft_lengths: Any) -> Value:
    """Of the last axes; the inverse ones are scaled by 1/n. `fft_type` is an enumeration of FFT, IFFT, RFFT, IRFFT."""
    name = str(getattr(fft_type, "name", fft_type)).lower()
    axes = tuple(range(x.ndim - len(fft_lengths), x.ndim))
    return xp.call(f"{name}n", x, s=tuple(int(n) for n in fft_lengths), axes=axes)


def at_point(xp: JaxTracer, n: int) -> tuple[np.ndarray, ...]:
    """The values of the first n operands, broadcast to one shape, wide."""
    return tuple(np.broadcast_arrays(*(xp.read(i).astype(np.float64) for i in range(n))))


@maps("round")
def round_(xp: JaxTracer, x: Value, rounding_method: Any) -> Value:
    if int(rounding_method) == 1:  # to nearest even
        return xp.round(x)
    return xp.sign(x) * xp.floor(xp.abs(x) + 0.5)


@maps("clamp")
def clamp(xp: JaxTracer, lo: Any, x: Value, hi: Any) -> Value:
    return xp.minimum(xp.maximum(x, lo), hi)


@maps("polygamma")
def polygamma(xp: JaxTracer, n: Any, x: Value) -> Value:
    orders = np.unique(xp.read(0))
    xp.require(orders.size == 1 and float(orders[0]).is_integer(), "polygamma of several orders at once")
    order = int(orders[0])
    return xp.digamma(x) if order == 0 else xp.polygamma(x, n=order)


@maps("igamma")
def igamma(xp: JaxTracer, a: Value, x: Value) -> Value:
    return lower_gamma(xp, a, x, at_point(xp, 2))


@maps("igammac")
def igammac(xp: JaxTracer, a: Value, x: Value) -> Value:
    return upper_gamma(xp, a, x, at_point(xp, 2))


@maps("igamma_grad_a")
def igamma_grad_a(xp: JaxTracer, a: Value, x: Value) -> Value:
    return gamma_slope(xp, a, x, at_point(xp, 2))


@maps("regularized_incomplete_beta")
def betainc(xp: JaxTracer, a: Value, b: Value, x: Value) -> Value:
    return incomplete_beta(xp, a, b, x, at_point(xp, 3))


@maps("bessel_i0e")
def bessel_i0e(xp: JaxTracer, x: Value) -> Value | float:
    return bessel_i(xp, 0, x, at_point(xp, 1)[0])


@maps("bessel_i1e")
def bessel_i1e(xp: JaxTracer, x: Value) -> Value | float:
    return bessel_i(xp, 1, x, at_point(xp, 1)[0])


@maps("zeta")
def zeta(xp: JaxTracer, s: Any, q: Value) -> Value:
    at_s, at_q = at_point(xp, 2)
    xp.require(bool((at_s > 1).all() and (at_q > 0).all()), "zeta outside s > 1, q > 0")
    order = np.unique(at_s) - 1
    if not xp.cells[0].live and order.size == 1 and float(order[0]).is_integer() and order[0] <= 16:
        # DLMF 25.11.12: psi_n(q) = (-1)^(n+1) n! zeta(n+1, q)
        n = int(order[0])
        return xp.polygamma(q, n=n) * (1.0 if n % 2 else -1.0) / float(math.factorial(n))
    return hurwitz_zeta(xp, s, q)


@maps("select_n")
def select_n(xp: JaxTracer, which: Any, *cases: Any) -> Value:
    """Case number `which`; a mask chooses between two."""
    if which.kind == "bool":
        no, yes = cases
        if no.kind == yes.kind == "bool":
            return xp.logical_or(xp.logical_and(which, yes), xp.logical_and(xp.logical_not(which), no))
        return xp.where(which, yes, no)
    chosen = xp.read(0)
    out = cases[0]
    for k, case in enumerate(cases[1:], start=1):
        out = xp.where(xp.concrete(np.asarray(chosen == k)), case, out)
    return out


@maps("stop_gradient copy copy_p device_put pvary reshard sharding_constraint reduce_precision name")
def identity(xp: JaxTracer, x: Value, **_: Any) -> Value:
    """stop_gradient too: the definition is the forward function; a note says so."""
    return x


@maps("convert_element_type")
def convert(xp: JaxTracer, x: Value, **_: Any) -> Value:
    if x.kind == "complex" and xp.out_kind(0) == "float":
        x = xp.real(x)
    x = xp.cast(x)
    return xp.where(x, 1.0, 0.0) if x.kind == "bool" and xp.out_kind(0) == "float" else x


@maps("optimization_barrier")
def several(xp: JaxTracer, *xs: Any, **_: Any) -> Outputs:
    return xs


# ---- reductions -----------------------------------------------------------------------------------------------------

for _lax, _op in {"sum": "sum", "max": "max", "min": "min", "prod": "prod", "and": "all", "or": "any"}.items():
    MAPPED[f"reduce_{_lax}"] = lambda xp, x, axes, op=_op, **_: xp.call(op, x, axis=tuple(axes)) if axes else x
for _lax in ("sum", "prod", "logsumexp"):
    MAPPED[f"cum{_lax}"] = lambda xp, x, axis, reverse, op=f"cumulative_{_lax}": turned(
        xp, x, axis, reverse, lambda v: xp.call(op, v, axis=axis)
    )


def turned(xp: JaxTracer, x: Value, axis: int, reverse: bool, f: Callable[[Any], Any]) -> Value:
    return xp.flip(f(xp.flip(x, axis=axis)), axis=axis) if reverse else f(x)


LONGEST_CHAIN = 64
"""Entries of an axis along which a running extreme is recorded step by step, ties and all."""


@maps("cummax cummin")
def cummax(xp: JaxTracer, x: Value, axis: int, reverse: bool) -> Value:
    """Each entry against the extreme before it; along a long axis, where that stands is found at the point."""
    n = x.shape[axis]
    if n <= LONGEST_CHAIN:
        return turned(xp, x, axis, reverse, lambda v: extremes(xp, v, axis))
    found, given = xp.output(0), xp.read(0)
    moved, running = np.moveaxis(given, axis, -1), np.moveaxis(found, axis, -1)
    hit = moved[..., None, :] == running[..., :, None]
    reach = np.tri(n, dtype=bool) if not reverse else np.tri(n, dtype=bool).T
    where = np.moveaxis(np.argmax(hit & reach, axis=-1), -1, axis)
    return xp.take_along_axis(x, xp.concrete(where), axis=axis)


def extremes(xp: JaxTracer, x: Value, axis: int) -> Value:
    op = "maximum" if xp.primitive == "cummax" else "minimum"
    entries = [along(xp, x, axis, k, k + 1) for k in range(x.shape[axis])]
    return xp.concat(list(itertools.accumulate(entries, partial(xp.call, op))), axis=axis) if entries else x


@maps("sort")
def sort(xp: JaxTracer, *xs: Any, dimension: int, num_keys: int, is_stable: bool = True, **_: Any) -> Outputs:
    if not is_stable and xp.has_ties(dimension, num_keys):
        raise Undefined("an unstable sort puts equal entries into any order")
    if num_keys == 1 and len(xs) == 1:
        return (xp.sort(xs[0], axis=dimension),)
    order = xp.concrete(xp.order(dimension, num_keys))
    first = xp.sort(xs[0], axis=dimension) if num_keys == 1 and xs[0].kind == "float" else None
    moved = [xp.take_along_axis(x, order, axis=dimension) if x.kind != "int" else None for x in xs]
    return (moved[0] if first is None else first, *moved[1:])


@maps("top_k")
def top_k(xp: JaxTracer, x: Value, k: int, axis: int | None = None, **_: Any) -> Outputs:
    axis = -1 if axis is None else axis
    return along(xp, xp.sort(x, axis=axis, descending=True), axis, 0, k), None


def dilated(xp: JaxTracer, x: Value, steps: Any, value: float = 0.0) -> Value:
    """Entries that stand `steps` apart along each axis, with `value` between them."""
    shape = tuple((n - 1) * int(d) + 1 if n else 0 for n, d in zip(x.shape, steps))
    index = tuple((None, None, int(d)) for d in steps)
    wide = xp.embed(x, index=index, shape=shape)
    if value == 0:
        return wide
    given = np.zeros(shape, dtype=bool)
    given[tuple(slice(None, None, int(d)) for d in steps)] = True
    return xp.where(xp.concrete(given), wide, value)


def windows(
    xp: JaxTracer, x: Value, value: float, window: Any, strides: Any, padding: Any, base: Any, dilation: Any
) -> Value:
    """Every entry of a sliding window, stacked along a new first axis."""
    if base and any(b != 1 for b in base):
        x = dilated(xp, x, base, value)
    x = padded(xp, x, [(int(a), int(b)) for a, b in padding], value)
    dilation = dilation or (1,) * x.ndim
    sizes = [(n - d * (w - 1) - 1) // s + 1 for n, w, s, d in zip(x.shape, window, strides, dilation)]
    return xp.stack(
        [
            xp.getitem(
                x,
                index=tuple(
                    (o * d, o * d + s * (n - 1) + 1, s) for o, d, s, n in zip(offset, dilation, strides, sizes)
                ),
            )
            for offset in itertools.product(*map(range, window))
        ],
        axis=0,
    )


@maps("reduce_window_sum")
def window_sum(
    xp: JaxTracer, x: Any, window_dimensions: Any, window_strides: Any, padding: Any, base_dilation: Any,
    window_dilation: Any, **_: Any,
) -> Any:  # fmt: skip
    return xp.sum(
        windows(xp, x, 0.0, window_dimensions, window_strides, padding, base_dilation, window_dilation), axis=0
    )


def window_extreme(op: str, start: float) -> Map:
    def call(
        xp: JaxTracer, x: Any, window_dimensions: Any, window_strides: Any, padding: Any, base_dilation: Any,
        window_dilation: Any, **_: Any,
    ) -> Any:  # fmt: skip
        stacked = windows(xp, x, start, window_dimensions, window_strides, padding, base_dilation, window_dilation)
        return xp.call(op, stacked, axis=0)

    return call


MAPPED["reduce_window_max"] = window_extreme("max", -math.inf)
MAPPED["reduce_window_min"] = window_extreme("min", math.inf)


# ---- shape ----------------------------------------------------------------------------------------------------------


@maps("reshape")
def reshape(xp: JaxTracer, x: Value, new_sizes: Any, dimensions: Any = None, **_: Any) -> Value:
    """In the order of `dimensions`, where they are given."""
    return xp.shaped(x if dimensions is None else xp.permute_dims(x, axes=tuple(dimensions)), new_sizes)


@maps("squeeze")
def squeeze(xp: JaxTracer, x: Value, **_: Any) -> Value:
    return xp.shaped(x, xp.out_shape(0))


@maps("transpose")
def transpose(xp: JaxTracer, x: Value, permutation: Any) -> Value:
    return xp.permute_dims(x, axes=tuple(int(p) for p in permutation))


@maps("broadcast_in_dim")
def broadcast_in_dim(xp: JaxTracer, x: Value, *_: Any, shape: Any, broadcast_dimensions: Any, **__: Any) -> Value:
    thin = [1] * len(shape)
    for n, axis in zip(x.shape, broadcast_dimensions):
        thin[int(axis)] = n
    return xp.spread(xp.shaped(x, thin), shape)


@maps("broadcast_to")
def broadcast_to(xp: JaxTracer, x: Value, **_: Any) -> Value:
    return xp.spread(x, xp.out_shape(0))


@maps("slice")
def slice_(xp: JaxTracer, x: Value, start_indices: Any, limit_indices: Any, strides: Any) -> Value:
    steps = strides or (1,) * x.ndim
    return xp.getitem(x, index=tuple((int(a), int(b), int(s)) for a, b, s in zip(start_indices, limit_indices, steps)))


@maps("rev")
def rev(xp: JaxTracer, x: Value, dimensions: Any) -> Value:
    return xp.flip(x, axis=tuple(int(d) for d in dimensions)) if len(dimensions) else x


@maps("concatenate")
def concatenate(xp: JaxTracer, *xs: Any, dimension: int) -> Value:
    return xp.concat([xp.matching(x, xs[0]) for x in xs], axis=dimension)


@maps("stack")
def stack(xp: JaxTracer, *xs: Any, axis: int = 0, **_: Any) -> Value:
    return xp.stack([xp.matching(x, xs[0]) for x in xs], axis=axis)


@maps("unstack")
def unstack(xp: JaxTracer, x: Value, axis: int = 0, **_: Any) -> Outputs:
    return tuple(at(xp, x, axis, k) for k in range(x.shape[axis]))


@maps("split")
def split(xp: JaxTracer, x: Value, sizes: Any, axis: int) -> Outputs:
    ends = np.cumsum(sizes)
    return tuple(along(xp, x, axis, int(e - n), int(e)) for e, n in zip(ends, sizes))


@maps("tile")
def tile(xp: JaxTracer, x: Value, reps: Any, **_: Any) -> Value:
    return xp.tile(xp.shaped(x, (1,) * (len(reps) - x.ndim) + x.shape), repetitions=tuple(reps))


@maps("pad")
def pad(xp: JaxTracer, x: Value, value: Any, padding_config: Any) -> Value:
    """(low, high, interior) per axis; low and high may be negative."""
    if any(int(i) for _, _, i in padding_config):
        sizes = [max(n + (n - 1) * int(i), 0) for n, (_, _, i) in zip(x.shape, padding_config)]
        steps = tuple((None, None, int(i) + 1) for _, _, i in padding_config)
        spots = np.zeros(sizes, dtype=bool)
        spots[tuple(slice(*s) for s in steps)] = True
        x = xp.where(xp.concrete(spots), xp.embed(x, index=steps, shape=tuple(sizes)), value)
    constant = value.array if value.array is not None else None
    filling = 0 if constant is not None and constant == 0 else value
    return padded(xp, x, [(int(a), int(b)) for a, b, _ in padding_config], filling)


# ---- indexing -------------------------------------------------------------------------------------------------------


@maps("gather dynamic_slice")
def gather(xp: JaxTracer, x: Value, *_: Any, **params: Any) -> Value:
    """Out of bounds, a gather that fills gives NaN (or its fill value)."""
    spots = xp.positions()
    if (spots < 0).any():
        filled = params.get("fill_value")
        value = math.nan if filled is None else float(filled)
        inside = xp.picked(x, np.maximum(spots, 0))
        return xp.where(xp.concrete(spots >= 0), inside, value)
    return xp.picked(x, spots)


@maps("dynamic_update_slice")
def dynamic_update_slice(xp: JaxTracer, x: Value, update: Any, *_: Any, **__: Any) -> Value:
    return replaced(xp, x, update)


@maps("scatter")
def scatter(xp: JaxTracer, x: Value, indices: Any, updates: Any, **_: Any) -> Value:
    return replaced(xp, x, updates)


def replaced(xp: JaxTracer, x: Value, updates: Any) -> Value:
    both = xp.concat([xp.flat(x), xp.flat(xp.matching(updates, x))], axis=0)
    return xp.picked(both, xp.replacements())


@maps("scatter-add scatter-sub")
def scatter_add(xp: JaxTracer, x: Value, indices: Any, updates: Any, **_: Any) -> Value:
    spots = xp.landings()
    kept = spots.ravel() >= 0
    if not kept.all():
        updates = xp.picked(updates, np.flatnonzero(kept))
        spots = spots.ravel()[kept]
    updates = xp.negative(updates) if xp.primitive == "scatter-sub" else updates
    return xp.accumulated(x, spots, xp.shaped(updates, spots.shape))


@maps("scatter-mul scatter-max scatter-min")
def scatter_combine(xp: JaxTracer, x: Value, indices: Any, updates: Any, **_: Any) -> Value:
    """A gather, the op, and a replacement: in rounds, each with one update for a place at most."""
    spots = xp.landings().ravel()
    op = {"mul": "multiply", "max": "maximum", "min": "minimum"}[xp.primitive[-3:]]
    turn = _turns(spots)
    rounds = int(turn.max(initial=-1)) + 1
    xp.require(rounds <= LONGEST_CHAIN, f"{xp.primitive} with more than {LONGEST_CHAIN} updates for one place")
    for k in range(rounds):
        now = np.flatnonzero((turn == k) & (spots >= 0))
        if now.size:
            x = xp.placed(x, spots[now], xp.call(op, xp.picked(x, spots[now]), xp.picked(updates, now)))
    return x


def _turns(spots: np.ndarray) -> np.ndarray:
    """How many earlier entries equal each entry."""
    order = np.argsort(spots, kind="stable")
    ordered = spots[order]
    first = np.searchsorted(ordered, ordered)
    found = np.empty(spots.size, dtype=np.int64)
    found[order] = np.arange(spots.size) - first
    return found


# ---- linear algebra -------------------------------------------------------------------------------------------------


@maps("dot_general")
def dot_general(xp: JaxTracer, a: Value, b: Value, dimension_numbers: Any, **_: Any) -> Value:
    """Contracted and batch axes by letters; the result has batch, then the rest of a, then of b."""
    (ca, cb), (ba, bb) = dimension_numbers
    letters = iter("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    left, right = [next(letters) for _ in a.shape], [""] * b.ndim
    for i, j in [*zip(ca, cb), *zip(ba, bb)]:
        right[int(j)] = left[int(i)]
    right = [c or next(letters) for c in right]
    gone = {left[int(i)] for i in ca}
    batch = [left[int(i)] for i in ba]
    rest = [c for c in left if c not in gone and c not in batch] + [c for c in right if c not in left]
    if a.ndim == b.ndim == 2 and (list(ca), list(cb)) == ([1], [0]):
        return xp.matmul(a, b)
    return xp.einsum(f"{''.join(left)},{''.join(right)}->{''.join(batch + rest)}", a, b)


@maps("cholesky")
def cholesky(xp: JaxTracer, a: Value, **_: Any) -> Value:
    return xp.cholesky(a)


@maps("triangular_solve")
def triangular_solve(
    xp: JaxTracer, a: Any, b: Any, left_side: bool, lower: bool, transpose_a: bool, unit_diagonal: bool,
    conjugate_a: bool = False, **_: Any,
) -> Any:  # fmt: skip
    swap = xp.matrix_transpose
    a = xp.conj(a) if conjugate_a else a
    a, upper = (swap(a), lower) if transpose_a else (a, not lower)
    if left_side:
        return xp.solve_triangular(a, b, upper=upper, unit_diagonal=unit_diagonal)
    return swap(xp.solve_triangular(swap(a), swap(b), upper=not upper, unit_diagonal=unit_diagonal))


@maps("lu")
def lu(xp: JaxTracer, a: Value, **_: Any) -> Outputs:
    """The order of the rows is an integer, and as such concrete."""
    order = xp.output(2)
    return eliminated(xp, rows_ordered(xp, a, order)), None, None


def rows_ordered(xp: JaxTracer, a: Value, order: np.ndarray) -> Value:
    spots = np.arange(int(np.prod(a.shape))).reshape(a.shape)
    return xp.picked(a, np.take_along_axis(spots, order[..., None].astype(np.int64), axis=-2))


@maps("qr")
def qr(xp: JaxTracer, a: Value, full_matrices: bool, **_: Any) -> Outputs:
    m, n = a.shape[-2:]
    xp.require(not full_matrices or m <= n, "the full QR factors of a tall matrix, of which some columns are arbitrary")
    r = xp.output(1)
    return orthogonalised(xp, a, np.where(np.diagonal(r, axis1=-2, axis2=-1) < 0, -1.0, 1.0))


@maps("eig")
def eig(
    xp: JaxTracer, a: Value, compute_left_eigenvectors: bool, compute_right_eigenvectors: bool, **_: Any
) -> Outputs:
    """Return the eigenvalues, and the left and right eigenvectors that are asked for."""
    right = xp.output(-1) if compute_right_eigenvectors else _in_order_of(xp.output(0), xp.read(0))
    left = xp.output(1) if compute_left_eigenvectors else None
    values, lefts, rights = eigen_general(xp, a, right, left)
    return (
        values,
        *((lefts,) if compute_left_eigenvectors else ()),
        *((rights,) if compute_right_eigenvectors else ()),
    )


def _in_order_of(values: np.ndarray, a: np.ndarray) -> np.ndarray:
    """NumPy's right eigenvectors of `a`, in the order of these eigenvalues."""
    own, vectors = np.linalg.eig(a)
    places = np.argmin(np.abs(values[..., :, None] - own[..., None, :]), axis=-1)
    return np.take_along_axis(vectors, places[..., None, :], axis=-1)


@maps("eigh")
def eigh(xp: JaxTracer, a: Value, **_: Any) -> Outputs:
    values, vectors = eigen(xp, a, xp.output(0))
    return vectors, values


@maps("svd")
def svd(xp: JaxTracer, a: Value, full_matrices: bool, compute_uv: bool, **_: Any) -> Outputs:
    m, n = a.shape[-2:]
    xp.require(
        not (full_matrices and compute_uv) or m == n,
        "all singular vectors of a matrix that is not square: some are arbitrary",
    )
    u, vt = (xp.output(1), xp.output(2)) if compute_uv else np.linalg.svd(xp.read(0), full_matrices=False)[::2]
    left, values, right = singular(xp, a, u, np.conj(np.swapaxes(vt, -1, -2)))
    return (values, left, adjoint(xp, right)) if compute_uv else (values,)


@maps("symmetric_product")
def symmetric_product(xp: JaxTracer, a: Value, c: Value, alpha: float, beta: float, **_: Any) -> Value:
    return alpha * xp.matmul(a, xp.matrix_transpose(a)) + beta * c


@maps("conv_general_dilated")
def conv(
    xp: JaxTracer, x: Any, w: Any, window_strides: Any, padding: Any, lhs_dilation: Any, rhs_dilation: Any,
    dimension_numbers: Any, feature_group_count: int, batch_group_count: int, **_: Any,
) -> Any:  # fmt: skip
    """Axes into the order (batch, channels, ...), zeros between the entries, padding, then a correlation."""
    spec = dimension_numbers
    n = x.ndim - 2
    xp.require(n in (1, 2, 3), f"a convolution over {n} axes")
    x, w = xp.permute_dims(x, axes=tuple(spec.lhs_spec)), xp.permute_dims(w, axes=tuple(spec.rhs_spec))
    if any(d != 1 for d in lhs_dilation):
        x = dilated(xp, x, (1, 1, *lhs_dilation))
    x = padded(xp, x, [(0, 0), (0, 0), *((int(a), int(b)) for a, b in padding)])
    correlated = lambda x, w: correlation(
        xp, x, w, list(window_strides), [0] * n, list(rhs_dilation), feature_group_count
    )
    # Of several groups, each convolves its part of the batch with its part of the filters.
    size, filters = x.shape[0] // batch_group_count, w.shape[0] // batch_group_count
    groups = [
        correlated(along(xp, x, 0, k * size, (k + 1) * size), along(xp, w, 0, k * filters, (k + 1) * filters))
        for k in range(batch_group_count if batch_group_count > 1 else 0)
    ]
    out = xp.concat(groups, axis=1) if groups else correlated(x, w)
    return xp.permute_dims(out, axes=tuple(int(i) for i in np.argsort(spec.out_spec)))


def mapped() -> tuple[str, ...]:
    """Every primitive in the table, and those that are entered."""
    return tuple(sorted({*MAPPED, *CALLS, *CONTROL}))
