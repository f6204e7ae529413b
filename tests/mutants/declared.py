"""Mutants of the op table's VJPs, for the engine: the same vocabulary, one mistake each.

Each mistake is one that a tracker has seen; tests/mutants/README.md gives the issues by class.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from .mutant import Mutant, cotangent, from_second_call, one_entry, rule, scaled, text


def _mutant(name: str, bug: int, op: str, spec: Any, description: str, size: float | None = None) -> Mutant:
    return Mutant(name=name, bug=bug, op=op, spec=spec, description=description, size=size)


# --- Class 1: the reduction over broadcast axes. `broadcasts=False` hands it to the rules, which then do it wrongly.


def _reducing(*reduce: Any) -> Any:
    """Rules that reduce by themselves: reduce[i](xp, d, shape) brings the cotangent d of argument i to `shape`."""

    def mutate(spec: Any) -> Any:
        def one(i: int) -> Any:
            right = spec.vjp[i]
            return lambda xp, g, out, *args, **params: reduce[i](
                xp, right(xp, g, out, *args, **params), xp.shape(args[i])
            )

        return replace(spec, broadcasts=False, vjp=tuple(one(i) for i in range(spec.arity)))

    return mutate


def _right(xp: Any, d: Any, shape: Any) -> Any:
    return xp.sum_to(d, shape)


def _missing(xp: Any, d: Any, shape: Any) -> Any:
    return d


def _mean_to(xp: Any, d: Any, shape: Any) -> Any:
    return xp.sum_to(d, shape) * (math.prod(shape) / max(1, math.prod(xp.shape(d))))


def _leading_only(xp: Any, d: Any, shape: Any) -> Any:
    """Sums the axes that were added in front, takes the first slice of those that were stretched."""
    extra = len(xp.shape(d)) - len(shape)
    d = xp.sum(d, axis=tuple(range(extra))) if extra else d
    return xp.getitem(d, tuple((0, n, 1) for n in shape)) if shape else d


def _wrong_axis(xp: Any, d: Any, shape: Any) -> Any:
    """Of a square matrix, sums rows where columns were stretched and the reverse; right for every other shape."""
    have = xp.shape(d)
    square = len(have) == 2 and have[0] == have[1] and len(shape) == 2 and sorted(shape) == [1, have[0]]
    return xp.sum_to(xp.matrix_transpose(d) if square else d, shape)


CLASS_1 = (
    _mutant("add-keeps-shape", 1, "add", _reducing(_right, _missing), "the second cotangent is not summed back"),
    _mutant("subtract-means", 1, "subtract", _reducing(_mean_to, _mean_to), "averages over what was broadcast"),
    _mutant("multiply-wrong-axis", 1, "multiply", _reducing(_wrong_axis, _wrong_axis),
            "sums the other axis of a square"),
    _mutant("divide-leading-only", 1, "divide", _reducing(_right, _leading_only), "takes a slice of stretched axes"),
    _mutant("maximum-keeps-shape", 1, "maximum", _reducing(_missing, _missing), "no cotangent is summed back"),
    _mutant("broadcast_to-slices", 1, "broadcast_to",
            text(lambda xp, g, out, x, **_: _leading_only(xp, g, xp.shape(x))), "takes a slice instead of a sum"),
)  # fmt: skip

# --- Class 2: formula, sign, factor, argument order.

CLASS_2 = (
    _mutant("sin-sign", 2, "sin", rule(scaled(-1.0)), "-cos"),
    _mutant("cos-sign", 2, "cos", text(lambda xp, g, out, x: g * xp.sin(x)), "the minus is missing"),
    _mutant("sqrt-factor", 2, "sqrt", text(lambda xp, g, out, x: g / out), "the 1/2 is missing"),
    _mutant("tanh-square", 2, "tanh", text(lambda xp, g, out, x: g * (1.0 - out)), "1 - out instead of 1 - out**2"),
    _mutant("erf-constant", 2, "erf",
            text(lambda xp, g, out, x: g * xp.exp(-x * x) / math.sqrt(math.pi)), "1/sqrt(pi) for 2/sqrt(pi)"),
    _mutant("reciprocal-sign", 2, "reciprocal", text(lambda xp, g, out, x: g * out * out), "the minus is missing"),
    _mutant("atan2-swapped", 2, "atan2", text(lambda xp, g, out, y, x: -g * y / (x * x + y * y)), "d/dy as if d/dx"),
    _mutant("pow-not-lowered", 2, "pow", text(lambda xp, g, out, x, y: g * y * out), "y * x**y for y * x**(y-1)"),
    _mutant("log1p-as-log", 2, "log1p", text(lambda xp, g, out, x: g / x), "1/x for 1/(1+x)"),
    _mutant("exp-1e-12", 2, "exp", rule(scaled(1 + 1e-12)), "off by 1e-12", 1e-12),
    _mutant("log-1e-12", 2, "log", rule(scaled(1 - 1e-12)), "off by 1e-12", 1e-12),
    _mutant("multiply-1e-12", 2, "multiply", rule(scaled(1 + 1e-12), 1), "second argument off by 1e-12", 1e-12),
    _mutant("sin-1e-12-one-entry", 2, "sin", rule(one_entry(1 + 1e-12)), "the first entry is off by 1e-12", 1e-12),
    _mutant("tanh-1e-12", 2, "tanh", rule(scaled(1 + 1e-12)), "off by 1e-12", 1e-12),
    _mutant("divide-1e-10", 2, "divide", rule(scaled(1 + 1e-10), 1), "second argument off by 1e-10", 1e-10),
    _mutant("sum-1e-12", 2, "sum", rule(scaled(1 + 1e-12)), "off by 1e-12", 1e-12),
    _mutant("sum-1e-10-one-entry", 2, "sum", rule(one_entry(1 + 1e-10)), "the first entry is off by 1e-10", 1e-10),
    _mutant("lgamma-1e-10", 2, "lgamma", rule(scaled(1 + 1e-10)), "off by 1e-10", 1e-10),
    _mutant("matmul-1e-12", 2, "matmul", rule(scaled(1 + 1e-12), 1), "second argument off by 1e-12", 1e-12),
    _mutant("sqrt-1e-6", 2, "sqrt", rule(scaled(1 + 1e-6)), "off by 1e-6", 1e-6),
    _mutant("inv-not-transposed", 2, "inv",
            text(lambda xp, g, out, a: -xp.matmul(out, xp.matmul(g, out))), "inverse instead of its transpose"),
    _mutant("cholesky-undivided", 2, "cholesky",
            text(lambda xp, g, out, a: _cholesky(xp, g, out)), "the diagonal of the projection is not halved"),
    _mutant("cumulative_sum-forward", 2, "cumulative_sum",
            text(lambda xp, g, out, x, axis: xp.cumulative_sum(g, axis=axis)), "accumulates from the front"),
    _mutant("flip-identity", 2, "flip", text(lambda xp, g, out, x, **_: g), "does not flip back"),
    _mutant("roll-same-way", 2, "roll",
            text(lambda xp, g, out, x, shift, axis: xp.roll(g, shift, axis)), "rolls on instead of back"),
    _mutant("permute_dims-again", 2, "permute_dims",
            text(lambda xp, g, out, x, axes: xp.reshape(xp.permute_dims(g, axes), xp.shape(x))),
            "permutes again instead of back"),
)  # fmt: skip


def _cholesky(xp: Any, g: Any, l: Any) -> Any:
    """Murray, "Differentiation of the Cholesky decomposition" (2016), eq. 10, with Φ left as tril."""
    lt = xp.matrix_transpose(l)
    s = xp.solve(lt, xp.matrix_transpose(xp.solve(lt, xp.matrix_transpose(xp.tril(xp.matmul(lt, g))))))
    return (s + xp.matrix_transpose(s)) / 2


# --- Class 3: the cotangent misused. All of these are right for g = 1.

CLASS_3 = (
    _mutant("exp-squares-g", 3, "exp", rule(cotangent(lambda xp, g: g * g)), "g**2 for g"),
    _mutant("sin-abs-g", 3, "sin", rule(cotangent(lambda xp, g: xp.abs(g))), "|g| for g"),
    _mutant("tanh-clips-g", 3, "tanh",
            rule(cotangent(lambda xp, g: xp.minimum(xp.maximum(g, -1.0), 1.0))), "g clipped to [-1, 1]"),
    _mutant("log-ignores-g", 3, "log", rule(cotangent(lambda xp, g: xp.ones_like(g))), "1 for g"),
    _mutant("sum-ignores-g", 3, "sum", rule(cotangent(lambda xp, g: xp.ones_like(g))), "1 for g"),
    _mutant("multiply-negative-g", 3, "multiply",
            rule(cotangent(lambda xp, g: xp.where(xp.less(g, 0), g * (1 + 1e-12), g))),
            "off by 1e-12 where g is negative", 1e-12),
    _mutant("sqrt-averages-g", 3, "sqrt",
            rule(cotangent(lambda xp, g: g * 0.0 + xp.sum(g) / max(1, math.prod(xp.shape(g))))), "the mean of g for g"),
)  # fmt: skip

# --- Class 4: overwriting where one must accumulate; leaves that are one and the same.


def _merges(xp: Any, g: Any, out: Any, x: Any, y: Any) -> Any:
    return xp.zeros_like(g) if x is y else g * x


CLASS_4 = (
    _mutant("multiply-merges-equal", 4, "multiply", text(_merges, 1), "x * x gives g * x: one slot is dropped"),
    _mutant("take-overwrites", 4, "take",
            text(lambda xp, g, out, x, i, axis: _last_wins(xp, g, x, i, axis)), "of duplicate indices the last wins"),
)  # fmt: skip


def _last_wins(xp: Any, g: Any, x: Any, indices: Any, axis: int) -> Any:
    """index_add, minus what every duplicate but the last one brought."""
    import numpy as np

    index = np.asarray(getattr(indices, "array", indices)).ravel()
    n = xp.shape(x)[axis]
    keep = [k for k, i in enumerate(index) if (i % n) not in {j % n for j in index[k + 1 :]}]
    shape = xp.shape(g)
    a = axis % len(xp.shape(x))
    flat = xp.reshape(g, (*shape[:a], index.size, *shape[a + np.ndim(indices) :]))
    return xp.index_add(xp.zeros_like(x), index[keep], xp.take(flat, np.asarray(keep, dtype=int), a), a)


# --- Class 6: a stale saved value.


def _stale() -> Any:
    def new(right: Any) -> Any:
        saved: list[Any] = []

        def vjp(xp: Any, g: Any, out: Any, x: Any) -> Any:
            """Keeps the first input that it has seen in a given shape."""
            for old in saved:
                if xp.shape(old) == xp.shape(x):
                    return right(xp, g, out, old)
            saved.append(x)
            return right(xp, g, out, x)

        return vjp

    return new


CLASS_6 = (
    _mutant("sin-stale-input", 6, "sin", rule(_stale()), "cos of an earlier input of the same shape"),
    _mutant("exp-from-second-call", 6, "exp", rule(from_second_call(scaled(1 + 1e-10))), "1e-10 off from the second "
            "call on", 1e-10),
)  # fmt: skip

# --- Class 8: ties and kinks. The answers below lie outside the one-sided derivatives.

CLASS_8 = (
    _mutant("maximum-tie-both", 8, "maximum",
            text(lambda xp, g, out, x, y: xp.where(xp.greater_equal(x, y), g, xp.zeros_like(g))),
            "at a tie the first argument gets all of g, on top of the second's share"),
    _mutant("max-tie-all", 8, "max", text(lambda xp, g, out, x, axis=None, keepdims=False: _all_tied(xp, g, x, axis)),
            "every tied entry gets all of g"),
    _mutant("abs-zero-two", 8, "abs",
            text(lambda xp, g, out, x: xp.where(xp.equal(x, 0), 2.0 * g, g * xp.sign(x))), "2 at 0"),
    _mutant("relu-zero-negative", 8, "relu",
            text(lambda xp, g, out, x: xp.where(xp.greater(x, 0), g, xp.where(xp.equal(x, 0), -g, xp.zeros_like(g)))),
            "-1 at 0"),
)  # fmt: skip


def _all_tied(xp: Any, g: Any, x: Any, axis: Any) -> Any:
    top = xp.max(x, axis=axis, keepdims=True)
    return xp.where(xp.equal(x, top), xp.broadcast_to(xp.reshape(g, xp.shape(top)), xp.shape(x)), xp.zeros_like(x))


# --- Class 9: division by what may be zero.

CLASS_9 = (
    _mutant("prod-divides", 9, "prod",
            text(lambda xp, g, out, x, axis=None, keepdims=False: _prod_by_division(xp, g, x, axis)), "g * out / x"),
    _mutant("multiply-divides", 9, "multiply", text(lambda xp, g, out, x, y: g * out / x), "g * out / x for g * y"),
    _mutant("pow-divides", 9, "pow", text(lambda xp, g, out, x, y: g * y * out / x), "y * out / x"),
    _mutant("abs-divides", 9, "abs", text(lambda xp, g, out, x: g * x / out), "x / |x|"),
    _mutant("hypot-divides", 9, "hypot", text(lambda xp, g, out, x, y: g * (out / x - y * y / (x * out))),
            "(out - y*y/out) / x for x / out"),
    _mutant("xlogy-divides", 9, "xlogy", text(lambda xp, g, out, x, y: g * out / x), "x log(y) / x for log(y)"),
    _mutant("cumulative_prod-divides", 9, "cumulative_prod",
            text(lambda xp, g, out, x, axis: xp.flip(xp.cumulative_sum(xp.flip(g * out, axis), axis=axis), axis) / x),
            "reversed cumulative sum of g * out, over x"),
)  # fmt: skip


def _prod_by_division(xp: Any, g: Any, x: Any, axis: Any) -> Any:
    out = xp.prod(x, axis=axis, keepdims=True)
    return xp.reshape(g, xp.shape(out)) * out / x


# --- Class 10: 0 * inf, and inf / inf.

CLASS_10 = (
    _mutant("softplus-overflows", 10, "softplus",
            text(lambda xp, g, out, x: g * xp.exp(x) / (1.0 + xp.exp(x))), "inf / inf where exp(x) overflows"),
    _mutant("sigmoid-overflows", 10, "sigmoid",
            text(lambda xp, g, out, x: g * xp.exp(-x) / xp.square(1.0 + xp.exp(-x))), "inf / inf at -800"),
    _mutant("logaddexp-overflows", 10, "logaddexp",
            text(lambda xp, g, out, x, y: g * xp.exp(x) / (xp.exp(x) + xp.exp(y))), "inf / inf where exp overflows"),
    _mutant("where-leaks", 10, "where",
            text(lambda xp, g, out, m, x, y: g * xp.where(m, xp.ones_like(g), xp.zeros_like(g)) + 0.0 / x, 1),
            "the dead branch's 0 / x leaks NaN at x = 0"),
)  # fmt: skip

# --- Class 11: cancellation in the tail. Exact mathematics, few digits.

CLASS_11 = (
    _mutant("sigmoid-cancels", 11, "sigmoid", text(lambda xp, g, out, x: g * out * (1.0 - out)), "s(1-s) at 40 is 0"),
    _mutant("tanh-cancels", 11, "tanh", text(lambda xp, g, out, x: g * (1.0 - out * out)), "1 - out**2 at 15"),
    _mutant("expm1-cancels", 11, "expm1", text(lambda xp, g, out, x: g * (out + 1.0)), "out + 1 at -40 is 0"),
    _mutant("softplus-cancels", 11, "softplus",
            text(lambda xp, g, out, x: g * (1.0 - xp.exp(-out))), "1 - exp(-out) at -40 is 0"),
    _mutant("log_sigmoid-cancels", 11, "log_sigmoid",
            text(lambda xp, g, out, x: g * (1.0 - xp.exp(out))), "1 - exp(out) at 40 is 0"),
)  # fmt: skip

DECLARED: tuple[Mutant, ...] = (
    *CLASS_1, *CLASS_2, *CLASS_3, *CLASS_4, *CLASS_6, *CLASS_8, *CLASS_9, *CLASS_10, *CLASS_11,
)  # fmt: skip
