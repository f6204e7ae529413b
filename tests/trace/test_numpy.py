# ruff: noqa: E501, B008 - the table of cases reads better in rows
"""NumPy's functions as recorded: each graph against the function itself, and what the tracer makes of memory."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradverify.core.errors import Unsupported
from gradverify.frameworks.numpy.tracer import Recorded, trace
from gradverify.frameworks.numpy.ufuncs import FUNCTIONS, MOVES, MOVES_OR_ZERO, UFUNCS, WRITES
from gradverify.trace import Traced

from ..helpers import agrees

RNG = np.random.default_rng(5)
HIDDEN = [np.random.default_rng(6)]  # where no tracer looks for a generator


def r(*shape: int) -> np.ndarray:
    """Normal entries, none within 0.05 of a multiple of 1/2."""
    x = RNG.standard_normal(shape)
    return np.where(np.abs(2 * x - np.round(2 * x)) < 0.1, x + 0.12, x)


X, Y, V = r(3, 4), r(3, 4), r(7)
P, U = RNG.uniform(0.2, 2.0, (3, 4)), RNG.uniform(0.1, 0.9, (3, 4))
A, B, C = r(3, 3) + 4 * np.eye(3), r(3, 2), r(2, 3, 4)
S = A @ A.T
IDX = np.array([2, 0, 2])

Case = tuple[Callable[..., Any], tuple[Any, ...]]


def uses(*fs: Callable[..., Any], args: tuple[Any, ...] = (X,)) -> list[Case]:
    return [(f, args) for f in fs]


def filled(x: Any, body: Callable[[Any, Any], None], shape: Any = None) -> Any:
    out = np.zeros(x.shape if shape is None else shape)
    body(out, x)
    return out


def put(x: Any) -> Any:
    y = x.copy()
    np.put(y, [0, 5], x[0, :2] * 2)
    return y


def put_method(x: Any) -> Any:
    y = x * 1.0
    y.put([1], x[2, 2])
    return y


def copyto(x: Any) -> Any:
    y = np.zeros_like(x)
    np.copyto(y, x * 2, where=x > 0)
    return y


def putmask(x: Any) -> Any:
    y = x.copy()
    np.putmask(y, x < 0, 0.1 * x)
    return y


def fill_diagonal(x: Any) -> Any:
    y = x.copy()
    np.fill_diagonal(y, x[0] * 2)
    return y


def at(ufunc: Any) -> Callable[..., Any]:
    def run(x: Any) -> Any:
        y = np.zeros((3, 4))
        ufunc.at(y, IDX, x)
        return y

    return run


# Every entry of the tables by a function that calls it; names as in the tables.
# fmt: off
CASES: dict[str, list[Case]] = {
    **{n: uses(getattr(np, n)) for n in (
        "absolute fabs negative positive conjugate sign square exp exp2 expm1 sin cos tan sinh cosh tanh arcsinh floor "
        "ceil trunc rint cbrt deg2rad radians rad2deg degrees").split()},
    **{n: uses(getattr(np, n), args=(P,)) for n in "sqrt reciprocal log log1p log2 log10".split()},
    **{n: uses(getattr(np, n), args=(U,)) for n in "arcsin arccos arctan arctanh".split()},
    "arccosh": uses(lambda x: np.arccosh(x + 1), args=(P,)),
    **{n: uses(getattr(np, n), args=(X, Y)) for n in (
        "add subtract multiply divide true_divide maximum minimum fmax fmin arctan2 hypot logaddexp logaddexp2 "
        "copysign").split()},
    **{n: uses(getattr(np, n), args=(X, P)) for n in "remainder floor_divide fmod".split()},
    **{n: uses(lambda x, y, f=getattr(np, n): np.where(f(x, y), x, y), args=(X, Y)) for n in
       "equal not_equal less less_equal greater greater_equal".split()},
    **{n: uses(lambda x, y, f=getattr(np, n): np.where(f(x > 0, y > 0), x, y), args=(X, Y)) for n in
       "logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor".split()},
    **{n: uses(lambda x, f=getattr(np, n): np.where(f(x > 0), x, 2.0)) for n in "logical_not invert".split()},
    "bitwise_invert": uses(lambda x: np.where(~(x > 0), x, 2.0)),
    **{n: uses(lambda x, f=getattr(np, n): np.where(f(x), 0.0, x)) for n in "isnan isinf signbit".split()},
    "isfinite": uses(lambda x: np.where(np.isfinite(x), x, 0.0)),
    "power": uses(lambda x: x**2, lambda x: x**3, lambda x: np.power(x, 0.5), lambda x: x**-1.0, lambda x: 2.0**x,
                  lambda x: x**x, lambda x: x ** np.float64(2), args=(P,)),
    "float_power": uses(lambda x: np.float_power(x, 1.5), args=(P,)),
    "divmod": uses(lambda x: np.divmod(x, 0.7), lambda x: divmod(x, 0.7)[1]),
    "modf": uses(np.modf),
    "frexp": uses(lambda x: np.frexp(x)[0]),
    "ldexp": uses(lambda x: np.ldexp(x, np.array([1, 2, 3, 4]))),
    "heaviside": uses(lambda x: np.heaviside(x, 0.5) * x),
    "round": uses(lambda x: np.round(x) * x, lambda x: x.round(1) * x),
    "around": uses(lambda x: np.around(x, 2) + x),
    "clip": uses(lambda x: np.clip(x, -0.4, 0.4), lambda x: x.clip(-0.4), lambda x: np.clip(x, None, x.mean()),
                 lambda x: np._core.umath.clip(x, -0.4, 0.4)),
    "matmul": [(np.matmul, (A, B)), (lambda a, b: a @ b, (C, r(4))), (lambda a, b: np.matmul(a, b), (r(2, 3), C))],
    "vecdot": [(np.vecdot, (X, Y))], "matvec": [(np.matvec, (A, r(3)))], "vecmat": [(np.vecmat, (r(3), A))],
    # scipy.special
    **{n: [(n, (x,))] for names, x in (("erf erfc expit log_expit ndtr log_ndtr", X), ("gammaln psi gamma entr", P),
                                       ("erfinv logit ndtri", U)) for n in names.split()},
    "xlogy": [("xlogy", (X, P))], "xlog1py": [("xlog1py", (X, P))], "betaln": [("betaln", (P, U))],
    # methods of ufuncs
    "add.reduce": uses(np.add.reduce, lambda x: np.add.reduce(x, axis=(0, 1)),
                       lambda x: np.add.reduce(x, axis=1, initial=2.0, where=x > 0)),
    "multiply.reduce": uses(np.multiply.reduce),
    **{f"{n}.reduce": uses(getattr(np, n).reduce) for n in "maximum minimum fmax fmin logaddexp".split()},
    **{f"{n}.reduce": uses(lambda x, f=getattr(np, n): x * f.reduce(x > -1.5, axis=0))
       for n in "logical_and logical_or bitwise_and bitwise_or".split()},
    "add.accumulate": uses(np.add.accumulate), "multiply.accumulate": uses(lambda x: np.multiply.accumulate(x, axis=1)),
    "maximum.accumulate": uses(np.maximum.accumulate), "minimum.accumulate": uses(lambda x: np.minimum.accumulate(x, axis=1)),
    **{f"{n}.outer": [(lambda x, y, f=getattr(np, n): f.outer(x, y), (P[0], U))] for n in
       "add subtract multiply divide power maximum minimum hypot arctan2".split()},
    **{f"{n}.outer": [(lambda x, y, f=getattr(np, n): np.where(f.outer(x, y), 1.0, 0.0) * x.sum(), (P[0], U))] for n in
       "less less_equal greater greater_equal equal".split()},
    # reductions
    "sum": uses(np.sum, lambda x: x.sum(0), lambda x: np.sum(x, axis=(0, 1)), lambda x: x.sum(-1, keepdims=True),
                lambda x: np.sum(x, axis=0, initial=3.0), lambda x: x.sum(where=x > 0), lambda x: (x > 0).sum() * x),
    "prod": uses(np.prod, lambda x: x.prod(axis=1)), "mean": uses(np.mean, lambda x: x.mean(1), lambda x: (x * (x > 0)).mean()),
    "var": uses(np.var, lambda x: x.var(0, ddof=1)), "std": uses(np.std, lambda x: x.std(axis=1, keepdims=True)),
    "average": uses(np.average, lambda x: np.average(x, axis=0, weights=np.array([1.0, 2.0, 3.0])),
                    lambda x: np.average(x, weights=x * x)),
    "max": uses(np.max, lambda x: x.max(axis=1)), "amax": uses(lambda x: np.amax(x, 0)),
    "min": uses(np.min, lambda x: x.min(axis=(0, 1))), "amin": uses(lambda x: np.amin(x, 0)),
    "all": uses(lambda x: np.where(np.all(x > -1, axis=1, keepdims=True), x, 2 * x)),
    "any": uses(lambda x: np.where((x > 1).any(axis=0), x, 2 * x)),
    "ptp": uses(np.ptp), "cumsum": uses(np.cumsum, lambda x: x.cumsum(1)), "cumprod": uses(np.cumprod, lambda x: x.cumprod(0)),
    "cumulative_sum": uses(lambda x: np.cumulative_sum(x, axis=1)),
    "sort": uses(np.sort, lambda x: np.sort(x, axis=None), lambda x: filled(x, lambda o, v: (o.__setitem__(..., v), o.sort(0)))),
    "partition": uses(lambda x: np.partition(x, 2)[..., 2], lambda x: np.partition(x, 1, axis=0)[:2].sum(0)),
    "median": uses(np.median, lambda x: np.median(x, axis=0), lambda x: np.median(x, axis=1, keepdims=True)),
    "quantile": uses(lambda x: np.quantile(x, 0.3), lambda x: np.quantile(x, 0.3, axis=1)),
    "percentile": uses(lambda x: np.percentile(x, 30), lambda x: np.percentile(x, 100, axis=0)),
    # choices
    "where": uses(lambda x: np.where(x > 0, x, np.exp(x)), lambda x: np.where(np.array([True, False, True, False]), x, 0),
                  lambda x: x[np.where(x > 0)], lambda x: np.where(np.where(x > 0, x > 1, x < -1), x, 0.0)),
    "nan_to_num": uses(np.nan_to_num),
    "select": uses(lambda x: np.select([x > 0.5, x > -0.5], [x, x**2], -x)),
    "interp": uses(lambda x: np.interp(x, np.array([-1.0, 0.03, 1.0]), np.array([1.0, 0.0, 2.0])),
                   lambda x: np.interp(np.array([0.3, -2.0, 4.1]), np.arange(4.0), x[0])),
    # joining
    "concatenate": uses(lambda x: np.concatenate([x, x * 2]), lambda x: np.concatenate((x, np.ones((3, 1))), axis=1),
                        lambda x: np.concatenate([x, x], axis=None), lambda x: np.vstack([x, x[0]]),
                        lambda x: np.hstack([x, x]), lambda x: np.column_stack([x[:, 0], x]), lambda x: np.append(x, x[0]),
                        lambda x: np.concatenate([x, x], out=np.empty((6, 4)))),
    "concat": uses(lambda x: np.concat([x, x], axis=1)),
    "stack": uses(lambda x: np.stack([x, x * 2], axis=-1), lambda x: np.dstack([x, x])),
    # products
    "dot": [(np.dot, (A, B)), (lambda a, b: a.dot(b), (A, r(3))), (np.dot, (C, r(2, 4, 3))), (lambda a: np.dot(a, 2.0), (A,)),
            (lambda a, b: np.dot(a, b, out=np.empty((3, 2))), (A, B))],
    "vdot": [(np.vdot, (X, Y))], "inner": [(np.inner, (X, Y)), (np.inner, (r(3), r(3)))],
    "outer": [(np.outer, (r(3), r(4)))],
    "tensordot": [(lambda a, b: np.tensordot(a, b, axes=([1, 2], [0, 1])), (C, r(3, 4, 2))), (np.tensordot, (C, r(3, 4))),
                  (lambda a, b: np.tensordot(a, b, 1), (A, B))],
    "einsum": [(lambda a, b: np.einsum("ij,jk->ik", a, b), (A, B)), (lambda a: np.einsum("ii", a), (A,)),
               (lambda a, b: np.einsum("...ij,...kj", a, b), (C, C)), (lambda a, b: np.einsum("bij,ij->b", a, b), (C, X)),
               (lambda a, b: np.einsum("i...,i->...", a, b), (X, r(3))), (lambda a: np.einsum("ij->ji", a), (X,))],
    "cross": [(np.cross, (A, r(3, 3))), (lambda a, b: np.cross(a, b, axis=0), (r(3, 4), r(3, 4))),
              (lambda a, b: np.cross(a, b, axisa=0, axisb=1, axisc=0), (r(3, 4), r(4, 3)))],
    "kron": [(np.kron, (r(2, 3), r(4, 2))), (np.kron, (r(3), r(2, 2)))],
    "angle": [(np.angle, (X,)), (lambda x: np.angle(x, deg=True), (X,))], "imag": [(lambda x: np.imag(x) + x, (X,))],
    "fftshift": [(np.fft.fftshift, (X,)), (lambda x: np.fft.fftshift(x, axes=1), (X,))], "ifftshift": uses(np.fft.ifftshift),
    "convolve": [(np.convolve, (V, r(3)))] + [(lambda a, b, m=m: np.convolve(a, b, m), (V, b)) for m in ("same", "valid")
                                              for b in (r(3), r(4))] + [(np.convolve, (r(2), V))],
    "correlate": [(lambda a, b, m=m: np.correlate(a, b, m), (a, b)) for m in ("full", "same", "valid")
                  for a, b in ((V, r(3)), (V, r(4)), (r(4), V), (r(3), V))],
    "trace": uses(np.trace, lambda x: x.trace(1), args=(A,)),
    "bincount": [(lambda w: np.bincount(np.array([0, 2, 2]), weights=w, minlength=4), (r(3),))],
    # linear algebra
    "inv": [(np.linalg.inv, (A,))], "det": [(np.linalg.det, (A,))], "slogdet": [(lambda a: np.linalg.slogdet(a)[1], (A,))],
    "solve": [(np.linalg.solve, (A, B)), (np.linalg.solve, (A, r(3)))],
    "cholesky": [(lambda a: np.linalg.cholesky(a + a.T + 20 * np.eye(3)), (A,)), (np.linalg.cholesky, (S,))],
    "norm": uses(np.linalg.norm, lambda x: np.linalg.norm(x, axis=1), lambda x: np.linalg.norm(x, ord=1),
                 lambda x: np.linalg.norm(x, np.inf), lambda x: np.linalg.norm(x, 3, axis=0),
                 lambda x: np.linalg.norm(x, axis=-1, keepdims=True), lambda x: np.linalg.norm(x[0], np.inf)),
    "vector_norm": uses(lambda x: np.linalg.vector_norm(x, axis=1)),
    "matrix_power": [(lambda a: np.linalg.matrix_power(a, 3), (A,)), (lambda a: np.linalg.matrix_power(a, -2), (A,))],
    "eigh": [(lambda a: np.linalg.eigh(a), (S,))], "eigvalsh": [(np.linalg.eigvalsh, (S,))],
    "svd": [(lambda a: np.linalg.svd(a, full_matrices=False), (X,)), (lambda a: np.linalg.svd(a, compute_uv=False), (X,))],
    "qr": [(np.linalg.qr, (r(4, 3),))],
    "lstsq": [(lambda a, b: np.linalg.lstsq(a, b, rcond=None)[0], (r(5, 3), r(5)))], "pinv": [(np.linalg.pinv, (r(4, 3),))],
    # moving entries
    "reshape": uses(lambda x: x.reshape(2, 6), lambda x: np.reshape(x, (-1, 2), order="F"), lambda x: x.T.reshape(-1)),
    "ravel": uses(np.ravel, lambda x: x.T.ravel(), lambda x: x.flatten("F"), lambda x: x.flat),
    "transpose": uses(lambda x: x.T, np.transpose, lambda c: c.transpose(2, 0, 1), args=(C,)),
    "permute_dims": uses(lambda c: np.permute_dims(c, (1, 2, 0)), args=(C,)),
    "swapaxes": uses(lambda c: c.swapaxes(0, 2), args=(C,)), "moveaxis": uses(lambda c: np.moveaxis(c, 0, -1), args=(C,)),
    "rollaxis": uses(lambda c: np.rollaxis(c, 2), args=(C,)), "matrix_transpose": uses(np.matrix_transpose, lambda c: c.mT, args=(C,)),
    "squeeze": uses(lambda x: x[None].squeeze(0)), "expand_dims": uses(lambda x: np.expand_dims(x, 1)),
    "broadcast_to": uses(lambda x: np.broadcast_to(x, (2, 3, 4)) * C, lambda x: np.broadcast_arrays(x, C)[0] + C),
    "flip": uses(np.flip, lambda x: x[::-1]), "fliplr": uses(np.fliplr), "flipud": uses(np.flipud), "rot90": uses(np.rot90),
    "roll": uses(lambda x: np.roll(x, 1), lambda x: np.roll(x, 2, axis=1)),
    "repeat": uses(lambda x: np.repeat(x, 2, axis=0), lambda x: x.repeat([1, 0, 2, 1], axis=1)),
    "tile": uses(lambda x: np.tile(x, (2, 1, 2))), "take": uses(lambda x: x.take([0, 2], axis=0), lambda x: np.take(x, IDX)),
    "take_along_axis": uses(lambda x: np.take_along_axis(x, np.argsort(x, axis=1), axis=1)),
    "compress": uses(lambda x: np.compress([True, False, True], x, axis=0), lambda x: x.compress([False, True], axis=1)),
    "extract": uses(lambda x: np.extract(x > 0, x)), "diagonal": uses(lambda x: x.diagonal(), lambda x: np.diagonal(x, 1)),
    "delete": uses(lambda x: np.delete(x, 1, axis=0)), "resize": uses(lambda x: np.resize(x, (5, 3))),
    "copy": uses(np.copy, copy.deepcopy, lambda x: x.astype(float)), "real": uses(np.real, lambda x: x.real),
    "sliding_window_view": uses(lambda x: np.lib.stride_tricks.sliding_window_view(x, (2, 2)).sum((-1, -2)) * x[1:, 1:]),
    "diag": uses(np.diag, lambda x: np.diag(x[0]), lambda x: np.diag(x[0], 1)), "diagflat": uses(np.diagflat),
    "tril": uses(np.tril, lambda x: np.tril(x, -1)), "triu": uses(lambda x: np.triu(x, 1)),
    "pad": uses(lambda x: np.pad(x, 1), lambda x: np.pad(x, ((0, 1), (2, 0)), constant_values=3.0),
                *[lambda x, m=m: np.pad(x, ((1, 2), (0, 1)), m) for m in ("edge", "reflect", "symmetric", "wrap")]),
    "full_like": uses(lambda x: np.full_like(x, x[0, 0]) * x),
    # writing
    "copyto": uses(copyto), "put": uses(put, put_method), "putmask": uses(putmask), "fill_diagonal": uses(fill_diagonal, args=(A,)),
}

MORE: dict[str, list[Case]] = {
    "at": uses(at(np.add), at(np.subtract)),
    "followed": uses(np.diff, np.gradient, np.trapezoid, lambda x: np.kron(x, x[:2, :2]), lambda x: np.split(x, 2, axis=1),
                     lambda x: np.array_split(x[0], 3), np.nansum, lambda x: np.meshgrid(x[0], x[1]), np.sinc,
                     lambda x: np.linspace(x[0], x[1], 4), lambda x: np.apply_along_axis(np.sum, 1, x), lambda x: np.isclose(x, 0) * x,
                     lambda x: np.ediff1d(x), np.atleast_3d,
                     lambda x: np.polyval([1.0, 2.0, 3.0], x), lambda x: np.linalg.multi_dot([x, x.T, x])),
    "indexing": uses(lambda x: x[0], lambda x: x[1, 2], lambda x: x[:, ::2], lambda x: x[..., None, -1], lambda x: x[IDX],
                     lambda x: x[IDX, [0, 1, 3]], lambda x: x[:, [0, 0]], lambda x: x[x > 0], lambda x: x[np.arange(3), IDX],
                     lambda x: x[np.argmax(x, 0), 1], lambda x: x[::-1, 1:][0], lambda x: x[()], lambda x: x[np.newaxis, 1:0]),
    "made": uses(lambda x: np.array([x[0, 0], x[1, 1] * 2, 3.0]), lambda x: np.array([[x[0, 0]], [x[0, 1]]]),
                 lambda x: np.asarray(x) * 2, lambda x: np.array(x, copy=True) + 1, lambda x: np.asarray([x[0], x[1]]),
                 lambda x: np.full((2, 2), x[0, 0]), lambda x: np.ascontiguousarray(x.T), lambda x: np.eye(4) * x[0],
                 lambda x: np.asfortranarray(x) @ x.T, lambda x: np.zeros_like(x) + x, lambda x: np.ones(4) @ x.T),
    "writing": uses(
        lambda x: filled(x, lambda o, v: o.__setitem__(0, v[1])),
        lambda x: filled(x, lambda o, v: [o.__setitem__(i, v[i].sum() + (o[i - 1] if i else 0)) for i in range(3)], 3),
        lambda x: filled(x, lambda o, v: o.__setitem__(v > 0, 2.0)) * x,
        lambda x: filled(x, lambda o, v: o.__setitem__(v > 0, v[v > 0] ** 2)),
        lambda x: filled(x, lambda o, v: o.__setitem__(slice(1, 3), v[:2])),
        lambda x: filled(x, lambda o, v: o.__setitem__((slice(None), 1), v[:, 0])),
        lambda x: filled(x, lambda o, v: o.__setitem__((IDX, 1), v[:, 0])),
        lambda x: filled(x, lambda o, v: o.__iadd__(v)), lambda x: filled(x, lambda o, v: np.multiply(v, v, out=o)),
        lambda x: filled(x, lambda o, v: np.exp(v, out=o, where=v > 0)),
        lambda x: filled(x, lambda o, v: o.T.__setitem__(0, v[:, 0])),
        lambda x: filled(x, lambda o, v: o[1:].__imul__(0.0).__iadd__(v[1:])),
        lambda x: filled(x, lambda o, v: o.fill(v[0, 0])), lambda x: np.sum(x, axis=0, out=np.empty(4)),
        lambda x: filled(x, lambda o, v: o.reshape(-1).__setitem__(slice(0, 4), v[0])),
        lambda x: filled(x, lambda o, v: o.__setitem__(0, [v[0, 0], 1.0, 2.0, v[1, 1]]))),
    "scalars": uses(lambda x: math.exp(x[0, 0]) * x, lambda x: abs(x[0, 0]) + math.sqrt(x[0, 1] ** 2)),
}
# fmt: on

EVERY = [pytest.param(*c, id=f"{n}-{k}") for n, cs in {**CASES, **MORE}.items() for k, c in enumerate(cs)]


def computes(t: Traced, results: Any) -> None:
    """Assert that the graph gives the floating-point ones of NumPy's results."""
    several = results if isinstance(results, tuple | list) else (results,)
    agrees(t, *(w for w in map(np.asarray, several) if w.dtype.kind == "f"), tolerance=1e-12)


@pytest.mark.parametrize(("fn", "args"), EVERY)
def test_the_graph_is_the_function(fn: Any, args: tuple[Any, ...]) -> None:
    if isinstance(fn, str):
        fn = getattr(pytest.importorskip("scipy.special"), fn)
    t = trace(fn, args)  # which holds it against the function at a point nearby as well
    assert not any("not confirmed" in n or "could not be confirmed" in n for n in t.notes), t.notes
    assert all(o.depends for o in t.outputs if o.position is not None)
    computes(t, fn(*args))


FOURIER = {f"{inverse}{real}fft{axes}" for inverse in ("", "i") for real in ("", "r") for axes in ("", "2", "n")}
"""They give complex arrays, which HIPS autograd's tracer takes: tests/api/test_autograd_dropin.py has them."""


def test_every_entry_of_the_tables_has_a_case() -> None:
    known = {f.__name__ for f in (*FUNCTIONS, *MOVES, *MOVES_OR_ZERO, *WRITES)} | set(UFUNCS)
    assert known - set(CASES) - FOURIER == set()


# ---- the structure around the operations ------------------------------------------------------------------------------

from math import exp as imported_exp  # noqa: E402

from numpy import zeros as imported_zeros  # noqa: E402


def test_names_and_roles() -> None:
    t = trace(lambda params, *rest, scale: params["w"][0] * rest[1] * scale, ({"w": [X]}, 3, Y), {"scale": X})
    assert [a.name for a in t.arguments] == ["params['w'][0]", "rest[1]", "scale"]
    assert (t.framework, t.dtype, t.opaque) == ("numpy", "float64", ())


def test_integers_are_inputs_and_closed_over_arrays_are_captured_by_name() -> None:
    table = r(3, 4, 6)
    t = trace(lambda x, at: x[at][..., None] * table, (X, IDX))
    assert {a.name: (a.kind, a.role) for a in t.arguments} == {
        "x": ("float", "argument"), "at": ("int", "argument"), "table": ("float", "captured")
    }  # fmt: skip


def test_functions_imported_by_name_are_seen_too() -> None:
    def f(x: Any) -> Any:
        out = imported_zeros(3)
        for i in range(3):
            out[i] = imported_exp(x[i, 0])
        return out

    computes(trace(f, (X,)), f(X))
    assert imported_zeros is np.zeros
    assert imported_exp is math.exp


def test_masks_stay_in_the_definition() -> None:
    def relu(x: Any) -> Any:
        y = x.copy()
        y[y < 0] = 0.0
        return y

    t = trace(relu, (X,))
    assert t.graph is not None
    assert "where" in [getattr(n, "op", "") for n in t.graph.nodes]
    assert t.notes == ()


def test_branches_and_selections_are_noted() -> None:
    assert "a branch" in trace(lambda x: x if x.sum() > 0 else -x, (X,)).notes[0]
    assert "selected by a mask" in trace(lambda x: x[x > 0].sum(), (X,)).notes[0]
    assert "integers computed" in trace(lambda x: x.astype(int) * x, (X,)).notes[0]


def test_scalars_are_not_written_to() -> None:
    """`total += x[1]` rebinds a NumPy scalar, and must not change who else holds it."""

    def f(x: Any) -> Any:
        total = first = x[0, 0]
        total += x[1, 1]
        return total * first

    computes(trace(f, (X,)), f(X))


def test_random_draws_are_replayed() -> None:
    rng = np.random.default_rng(1)
    t = trace(lambda x: x * np.random.standard_normal(x.shape) + rng.standard_normal(4), (X,))
    assert [np.array_equal(a, b) for a, b in zip(t.function(X), t.function(X))] == [True]


@pytest.mark.parametrize(
    ("fn", "why"),
    [
        (lambda x: np.vander(x[0], 3), "np.vander computes out of NumPy's sight"),
        (lambda x: np.abs(np.fft.fft(x)), "complex|np.fft"),
        (lambda x: x * float(x[0, 0]), "is not the function|are not the function|come back"),
        (lambda x: x * np.array(x.tolist()), r"values leave NumPy's sight \(tolist\)"),
        (lambda x: np.sqrt(np.abs(x.view(np.float32))).sum() * x, "the bits of"),
        (lambda x: np.spacing(x) * x, "the ufunc spacing has no counterpart"),
        (lambda x: x * HIDDEN[0].standard_normal(), "not reproducible"),
        (lambda x: _plain_only(x), "on recorded arrays: no subclasses"),
    ],
)
def test_what_cannot_be_recorded_is_refused_with_the_reason(fn: Any, why: str) -> None:
    with pytest.raises(Unsupported, match=why):
        trace(fn, (X,))
    t = trace(fn, (X,), strict=False)
    assert t.graph is None
    assert np.array_equal(t.function(X)[0].shape, np.shape(fn(X)))


def _plain_only(x: Any) -> Any:
    if isinstance(x, Recorded):
        raise TypeError("no subclasses")
    return np.sin(x)


def test_what_the_function_raises_is_passed_on() -> None:
    with pytest.raises(ZeroDivisionError):
        trace(lambda x: 1 / 0, (X,))


def test_arguments_keep_their_layout_and_are_not_written_to() -> None:
    seen = []
    given = np.asfortranarray(X)[::-1]
    trace(lambda x: (seen.append(x.strides), x.__imul__(2.0))[1], (given,))
    assert set(seen) == {given.strides}
    assert np.array_equal(given, X[::-1])
    expanded = np.broadcast_to(X[0], (3, 4))
    t = trace(lambda x: x * 2, (expanded,))
    computes(t, expanded * 2)


def test_arrays_that_outlive_the_trace_are_ordinary() -> None:
    kept = []
    trace(lambda x: kept.append(x * 2) or x, (X,), confirm=False)
    (old,) = kept
    assert isinstance(old, Recorded)
    old += 1
    old[0] = np.sin(old[1])
    assert type(old * 2) is np.ndarray
    assert repr(np.sum(old)) == repr(np.sum(np.asarray(old)))


def test_single_and_half_precision() -> None:
    for dtype in (np.float32, np.float16):
        t = trace(lambda x: np.tanh(x) @ x.T, (X.astype(dtype),))
        assert t.dtype == np.dtype(dtype).name
    assert "a cast from float64 to float32" in trace(lambda x: x.astype(np.float32) * 1.0, (X,)).notes[0]


def test_empty_and_0d_arrays() -> None:
    computes(trace(lambda x: x * 2 + 1, (np.zeros((0, 3)),)), np.zeros((0, 3)))
    computes(trace(lambda x: np.exp(x) * x, (np.array(0.5),)), np.array(math.exp(0.5) * 0.5))
