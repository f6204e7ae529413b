"""Op definitions over object arrays of mpmath numbers, for stand-alone reproducers: `slices` copies what one needs.

Imports NumPy and mpmath only. Every function here is named mp_<op>, takes the op's arguments in order and its
parameters by name. They say what an op is in the plainest way: these numbers neither over- nor underflow. Ops without a
function here are made of others.
"""

import numpy as np
from mpmath import mp, mpf


def lift(values):
    """Nested lists or an array of numbers as an object array of exact mpmath numbers."""
    return box(np.frompyfunc(lambda v: v if isinstance(v, mpf) else mpf(v), 1, 1)(np.array(values, dtype=object)))


def box(x):
    """A lone number as an array of no dimensions."""
    if isinstance(x, np.ndarray):
        return x
    out = np.empty((), dtype=object)
    out[()] = x
    return out


def real(f):
    """`f` with NaN for results outside the reals."""

    def one(*args):
        try:
            y = f(*args)
        except (ValueError, ZeroDivisionError):
            return mp.nan
        return y if isinstance(y, mpf) else mp.nan

    return one


def each(f, arity=1):
    """`f` entry by entry, broadcasting."""
    return lambda *args: box(np.frompyfunc(real(f), arity, 1)(*args))


def mask(f, arity=2):
    return lambda *args: np.asarray(np.frompyfunc(f, arity, 1)(*args), dtype=bool)


mp_add = each(lambda x, y: x + y, 2)
mp_subtract = each(lambda x, y: x - y, 2)
mp_multiply = each(lambda x, y: x * y, 2)
mp_divide = each(lambda x, y: x / y, 2)
mp_pow = each(lambda x, y: mp.power(x, int(y) if mp.isint(y) else y), 2)
mp_negative = each(lambda x: -x)
mp_abs = each(lambda x: abs(x))
mp_sign = each(lambda x: mp.sign(x))
mp_square = each(lambda x: x * x)
mp_reciprocal = each(lambda x: 1 / x)
mp_sqrt = each(mp.sqrt)
mp_exp = each(mp.exp)
mp_expm1 = each(mp.expm1)
mp_exp2 = each(lambda x: mp.power(2, x))
mp_log = each(mp.log)
mp_log1p = each(mp.log1p)
mp_log2 = each(lambda x: mp.log(x) / mp.log(2))
mp_log10 = each(lambda x: mp.log(x) / mp.log(10))
mp_sin = each(mp.sin)
mp_cos = each(mp.cos)
mp_tan = each(mp.tan)
mp_asin = each(mp.asin)
mp_acos = each(mp.acos)
mp_atan = each(mp.atan)
mp_sinh = each(mp.sinh)
mp_cosh = each(mp.cosh)
mp_tanh = each(mp.tanh)
mp_asinh = each(mp.asinh)
mp_acosh = each(mp.acosh)
mp_atanh = each(mp.atanh)
mp_atan2 = each(mp.atan2, 2)
mp_hypot = each(mp.hypot, 2)
mp_maximum = each(lambda x, y: max(x, y), 2)
mp_minimum = each(lambda x, y: min(x, y), 2)
mp_floor = each(mp.floor)
mp_ceil = each(mp.ceil)
mp_round = each(mp.nint)
mp_trunc = each(lambda x: mp.floor(x) if x >= 0 else mp.ceil(x))
mp_erf = each(mp.erf)
mp_erfc = each(mp.erfc)
mp_erfinv = each(mp.erfinv)
mp_lgamma = each(lambda x: mp.log(abs(mp.gamma(x))))
mp_digamma = each(mp.digamma)
mp_ndtr = each(mp.ncdf)
mp_logaddexp2 = each(lambda x, y: mp.log(mp.power(2, x) + mp.power(2, y)) / mp.log(2), 2)
mp_xlogy = each(lambda x, y: x * mp.log(y) if x else x * 1, 2)
mp_xlog1py = each(lambda x, y: x * mp.log1p(y) if x else x * 1, 2)
mp_equal = mask(lambda x, y: x == y)
mp_not_equal = mask(lambda x, y: x != y)
mp_less = mask(lambda x, y: x < y)
mp_less_equal = mask(lambda x, y: x <= y)
mp_greater = mask(lambda x, y: x > y)
mp_greater_equal = mask(lambda x, y: x >= y)
mp_logical_and = mask(lambda x, y: x and y)
mp_logical_or = mask(lambda x, y: x or y)
mp_logical_not = mask(lambda x: not x, 1)
mp_isfinite = mask(mp.isfinite, 1)


def mp_polygamma(x, n):
    return each(lambda v: mp.polygamma(n, v))(x)


mp_erfcx = each(lambda x: mp.exp(x * x) * mp.erfc(x))
mp_log_ndtr = each(lambda x: mp.log(mp.ncdf(x)))
mp_sinc = each(mp.sincpi)


def mp_ierfcx(x, n):
    return each(lambda v: mp.exp(v * v) * mp.quad(lambda t: mp.erfc(v + t) * t ** (n - 1), [0, 1, 4, mp.inf])
                / mp.factorial(n - 1) if n else mp.exp(v * v) * mp.erfc(v))(x)  # fmt: skip


def mp_dsinc(x, n):
    return each(lambda v: mp.quad(lambda t: (mp.pi * t) ** n * mp.cos(mp.pi * v * t + n * mp.pi / 2), [0, 1]))(x)


def mp_bessel_i(x, n):
    return each(lambda v: mp.besseli(n, v))(x)


def mp_squareplus(x, b):
    return each(lambda v: (v + mp.sqrt(v * v + b)) / 2)(x)


def mp_where(condition, x, y):
    return np.where(condition, x, y)


def mp_sum(x, axis, keepdims):
    return box(np.sum(x, axis=axis, keepdims=keepdims, initial=mpf(0)))


def mp_prod(x, axis, keepdims):
    return box(np.prod(x, axis=axis, keepdims=keepdims, initial=mpf(1)))


def mp_max(x, axis, keepdims):
    return box(np.max(x, axis=axis, keepdims=keepdims))


def mp_min(x, axis, keepdims):
    return box(np.min(x, axis=axis, keepdims=keepdims))


def mp_std(x, axis, keepdims, correction):
    mean = np.mean(x, axis=axis, keepdims=True)
    total = mp_sum((x - mean) ** 2, axis, keepdims)
    return mp_sqrt(total / (x.size // mean.size - mpf(correction)))


def mp_logsumexp(x, axis, keepdims):
    return mp_log(mp_sum(mp_exp(x), axis, keepdims))


def mp_vector_norm(x, axis, keepdims, ord):
    if ord == mp.inf:
        return mp_max(mp_abs(x), axis, keepdims)
    return mp_pow(mp_sum(mp_pow(mp_abs(x), mpf(ord)), axis, keepdims), 1 / mpf(ord))


def mp_gelu(x, approximate):
    if approximate == "none":
        return x * mp_ndtr(x)
    return x / 2 * (1 + mp_tanh(mp.sqrt(2 / mp.pi) * (x + mpf(0.044715) * x**3)))


def mp_nll_loss(x, targets):
    return box(-np.mean(np.take_along_axis(x, np.expand_dims(targets, -1), -1)))


def mp_any(x, axis, keepdims):
    return np.any(x, axis=axis, keepdims=keepdims)


def mp_all(x, axis, keepdims):
    return np.all(x, axis=axis, keepdims=keepdims)


def mp_argmax(x, axis, keepdims):
    return np.argmax(x, axis=axis, keepdims=keepdims)


def mp_argmin(x, axis, keepdims):
    return np.argmin(x, axis=axis, keepdims=keepdims)


def mp_argsort(x, axis):
    return np.argsort(x, axis=axis, kind="stable")


def mp_cumulative_sum(x, axis):
    return np.add.accumulate(x, axis=axis)


def mp_cumulative_prod(x, axis):
    return np.multiply.accumulate(x, axis=axis)


def mp_reshape(x, shape):
    return np.reshape(x, shape)


def mp_permute_dims(x, axes):
    return np.transpose(x, axes)


def mp_matrix_transpose(x):
    return np.swapaxes(x, -1, -2)


def mp_expand_dims(x, axis):
    return np.expand_dims(x, axis)


def mp_squeeze(x, axis):
    return np.squeeze(x, axis)


def mp_broadcast_to(x, shape):
    return np.broadcast_to(x, shape)


def mp_concat(*xs, axis):
    return np.concatenate(xs, axis=axis)


def mp_stack(*xs, axis):
    return np.stack(xs, axis=axis)


def mp_flip(x, axis):
    return np.flip(x, axis)


def mp_roll(x, shift, axis):
    return np.roll(x, shift, axis)


def mp_tril(x, k):
    return np.where(np.tri(x.shape[-2], x.shape[-1], k, dtype=bool), x, mpf(0))


def mp_triu(x, k):
    return np.where(np.tri(x.shape[-2], x.shape[-1], k - 1, dtype=bool), mpf(0), x)


def mp_diagonal(x):
    return np.diagonal(x, axis1=-2, axis2=-1)


def native(index):
    """The graph's index, with slices as triples, as Python's own."""
    entries = index if isinstance(index, tuple) else (index,)
    return tuple(slice(*e) if isinstance(e, tuple) else Ellipsis if e == "..." else e for e in entries)


def mp_getitem(x, index):
    return box(x[native(index)])


def mp_embed(x, index, shape):
    out = lift(np.zeros(shape))
    out[native(index)] = x
    return out


def mp_pad(x, pads):
    return np.pad(x, pads, constant_values=mpf(0))


def mp_take(x, indices, axis):
    return box(np.take(x, indices, axis=axis))


def mp_take_along_axis(x, indices, axis):
    return np.take_along_axis(x, indices, axis)


def mp_index_add(x, indices, updates, axis):
    out = x.copy()
    np.add.at(out, (slice(None),) * (axis % x.ndim) + (indices,), updates)
    return out


def mp_scatter_add(x, indices, updates, axis):
    out = x.copy()
    at = list(np.indices(indices.shape))
    at[axis % x.ndim] = indices
    np.add.at(out, tuple(at), updates)
    return out


def mp_matmul(x, y):
    return box(np.matmul(x, y))


def mp_einsum(*xs, subscripts):
    return box(np.einsum(subscripts, *xs))


def matrices(f, x, *others):
    """`f` of each matrix of a stack, as mpmath matrices; a number or a matrix each."""
    stack = np.broadcast_shapes(*(a.shape[:-2] for a in (x, *others)))
    arrays = [np.broadcast_to(a, stack + a.shape[-2:]) for a in (x, *others)]
    found = {at: f(*(mp.matrix(a[at].tolist()) for a in arrays)) for at in np.ndindex(stack)}
    shape = stack + ((arrays[-1].shape[-2:]) if any(isinstance(v, mp.matrix) for v in found.values()) else ())
    out = np.empty(shape, dtype=object)
    for at, v in found.items():
        out[at] = np.array(v.tolist(), dtype=object) if isinstance(v, mp.matrix) else v
    return out


def mp_inv(x):
    return matrices(mp.inverse, x)


def mp_det(x):
    return matrices(mp.det, x)


def mp_cholesky(x):
    return matrices(mp.cholesky, x)


def mp_solve(a, b):
    if b.ndim == 1:
        return mp_solve(a, b[:, None])[..., 0]
    return matrices(lambda m, r: mp.inverse(m) * r, a, b)


def mp_solve_triangular(a, b, upper, unit_diagonal):
    a = mp_triu(a, 0) if upper else mp_tril(a, 0)
    if unit_diagonal:
        a = np.where(np.eye(a.shape[-1], dtype=bool), mpf(1), a)
    return mp_solve(a, b)
