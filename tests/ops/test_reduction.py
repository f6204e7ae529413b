"""Reductions, cumulative ops and sorting: sound by `check_op`, equal to independent implementations, right at edges."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.special
import torch

from gradverify.core.errors import ShapeError
from gradverify.core.op import bind_params
from gradverify.namespaces import NUMPY
from gradverify.ops import FAMILIES, OPS
from gradverify.oracle.balls import BALLS
from gradverify.oracle.mp import MPMATH
from gradverify.oracle.precision import working
from gradverify.testing.ops import check_op

ROUNDING = 64 * 2.0**-53
"""Two careful evaluations of up to 24 terms, a handful of roundings each, differ by no more, relatively."""


def value(op, *args, **params):
    spec = OPS[op]
    return spec.define(NUMPY, *args, **bind_params(spec, params))


def cotangent(op, g, *args, argument=0, xp=NUMPY, **params):
    spec = OPS[op]
    bound = bind_params(spec, params)
    return spec.cotangent(xp, argument, g, spec.define(xp, *args, **bound), args, bound)


def kinks(op, x, **params):
    spec = OPS[op]
    return spec.kinks(NUMPY, x, **bind_params(spec, params))


@pytest.mark.parametrize("spec", FAMILIES["reduction"], ids=lambda s: s.name)
def test_declarations_are_sound(spec):
    check_op(spec)


# ---- independent implementations: PyTorch's and SciPy's -------------------------------------------------------------

SHAPES = [(), (1,), (5,), (2, 3), (1, 4), (2, 1, 3), (2, 3, 4)]
AXES = [None, 0, -1, (0, -1), (-2,)]


def torched(function):
    """A torch function of (tensor, dims, keepdim) as one of (array, axes, keepdims)."""
    return lambda x, axes, keep, **p: function(torch.from_numpy(x), axes, keep, **p).numpy()


def over_each(x, axes, keep, function):
    """`function` on each flat vector that is reduced, one by one."""
    out = np.empty(tuple(1 if i in axes else n for i, n in enumerate(x.shape)))
    for at in np.ndindex(out.shape):
        out[at] = function(x[tuple(slice(None) if i in axes else k for i, k in enumerate(at))].ravel())
    return out if keep else out.reshape(tuple(n for i, n in enumerate(x.shape) if i not in axes))


def exactly_summed(function):
    return lambda x, axes, keep, **p: over_each(x, axes, keep, lambda v: function(v, **p))


INDEPENDENT = [
    ("sum", {}, exactly_summed(math.fsum)),
    ("mean", {}, exactly_summed(lambda v: math.fsum(v) / len(v))),
    ("prod", {}, exactly_summed(math.prod)),
    ("max", {}, torched(torch.amax)),
    ("min", {}, torched(torch.amin)),
    ("var", {}, torched(lambda x, d, k: torch.var(x, d, correction=0, keepdim=k))),
    ("var", {"correction": 0.5}, exactly_summed(lambda v, correction: v.var() * len(v) / (len(v) - correction))),
    ("std", {}, torched(lambda x, d, k: torch.std(x, d, correction=0, keepdim=k))),
    ("logsumexp", {}, lambda x, axes, keep: scipy.special.logsumexp(x, axis=axes, keepdims=keep)),
    *(
        ("vector_norm", {"ord": p}, torched(lambda x, d, k, ord: torch.linalg.vector_norm(x, ord, d, k)))
        for p in (1.0, 2.0, 3.0, 2.5, 4.0, math.inf)
    ),
]


@pytest.mark.parametrize(
    ("op", "params", "independent"), INDEPENDENT, ids=lambda v: "" if callable(v) or not v else str(v)
)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_definitions_equal_independent_ones(op, params, independent, shape):
    x = np.random.default_rng(1).normal(size=shape) * 3
    tested = 0
    for axis, keep in itertools.product(AXES, (False, True)):
        axes = range(x.ndim) if axis is None else (axis if isinstance(axis, tuple) else (axis,))
        if any(not -x.ndim <= a < x.ndim for a in axes) or len({a % x.ndim for a in axes}) < len(list(axes)):
            continue
        normal = tuple(a % x.ndim for a in axes)
        want = independent(x, normal, keep, **params) if x.ndim else independent(x[None], (0,), False, **params)
        got = value(op, x, axis=axis, keepdims=keep, **params)
        assert np.shape(got) == np.shape(want)
        # Means and variances cancel: their error is relative to the largest entry.
        np.testing.assert_allclose(got, want, rtol=ROUNDING, atol=ROUNDING * np.abs(x).max() ** 2)
        tested += 1
    assert tested


@pytest.mark.parametrize("shape", [(1,), (6,), (3, 4), (2, 3, 2)], ids=str)
@pytest.mark.parametrize("axis", [0, -1])
def test_ops_along_an_axis_equal_pytorchs(shape, axis):
    x = np.random.default_rng(2).normal(size=shape).round(1)
    t = torch.from_numpy(x)
    np.testing.assert_allclose(value("cumulative_sum", x, axis=axis), torch.cumsum(t, axis), rtol=ROUNDING, atol=1e-15)
    np.testing.assert_allclose(value("cumulative_prod", x, axis=axis), torch.cumprod(t, axis), rtol=ROUNDING)
    assert np.array_equal(value("argsort", x, axis=axis), torch.argsort(t, dim=axis, stable=True))
    for descending in (False, True):
        assert np.array_equal(value("sort", x, axis=axis, descending=descending),
                              torch.sort(t, dim=axis, descending=descending).values)  # fmt: skip
    for op, independent in (("argmax", torch.argmax), ("argmin", torch.argmin)):
        distinct = np.random.default_rng(3).normal(size=shape)
        for keep in (False, True):
            want = independent(torch.from_numpy(distinct), dim=axis, keepdim=keep).numpy()
            assert np.array_equal(value(op, distinct, axis=axis, keepdims=keep), want)
        assert value(op, distinct) == independent(torch.from_numpy(distinct))
    for op, independent in (("any", torch.any), ("all", torch.all)):
        assert np.array_equal(value(op, x > 0, axis=axis), independent(t > 0, dim=axis))


# ---- the gradients of PyTorch, where its rules are right ------------------------------------------------------------


@pytest.mark.parametrize("axis", [None, 1, (0, 2)])
@pytest.mark.parametrize(
    ("op", "params", "function"),
    [
        ("sum", {}, torch.sum),
        ("mean", {}, torch.mean),
        ("max", {}, torch.amax),
        ("var", {"correction": 1.0}, lambda x, d: torch.var(x, d, correction=1)),
        ("std", {"correction": 1.0}, lambda x, d: torch.std(x, d, correction=1)),
        ("logsumexp", {}, torch.logsumexp),
        ("vector_norm", {"ord": 3.0}, lambda x, d: torch.linalg.vector_norm(x, 3, d)),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_cotangents_equal_pytorchs(op, params, function, axis):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(2, 3, 4))
    t = torch.from_numpy(x).requires_grad_()
    out = function(t, tuple(range(3)) if axis is None else axis)
    g = rng.normal(size=tuple(out.shape))
    (want,) = torch.autograd.grad(out, t, torch.from_numpy(g))
    got = cotangent(op, g, x, axis=axis, **params)
    np.testing.assert_allclose(got, want.numpy(), rtol=ROUNDING, atol=ROUNDING)


# ---- edges ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "want"),
    [([2, 0, 3], [0, 6, 0]), ([0, 0, 3], [0, 0, 0]), ([0], [1]), ([2, 3, 4], [12, 8, 6]), ([], [])],
)
def test_the_product_rule_is_right_at_zeros(x, want):
    assert cotangent("prod", np.array(1.0), np.array(x, dtype=float)).tolist() == want


def test_the_product_rule_survives_factors_that_cannot_be_divided_out():
    x = np.array([1e-200, 1e200, 1e-200, 1e200])
    np.testing.assert_allclose(cotangent("prod", np.array(1.0), x), 1 / x, rtol=ROUNDING)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("zeros", [0, 1, 2])
def test_the_cumulative_product_rule_equals_the_double_sum(n, zeros):
    rng = np.random.default_rng(n)
    x, g = rng.normal(size=n), rng.normal(size=n)
    x[rng.permutation(n)[:zeros]] = 0.0
    want = [math.fsum(g[k] * math.prod(np.delete(x[: k + 1], i)) for k in range(i, n)) for i in range(n)]
    scale = [math.fsum(abs(g[k] * math.prod(np.delete(x[: k + 1], i))) for k in range(i, n)) for i in range(n)]
    assert (np.abs(cotangent("cumulative_prod", g, x) - want) <= ROUNDING * np.array(scale)).all()


@pytest.mark.parametrize("xp", [NUMPY, BALLS, MPMATH], ids=lambda xp: xp.name)
def test_entries_that_tie_share_the_cotangent(xp):
    with working():
        x = xp.asarray(np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]))
        g = xp.asarray(np.array([6.0, 9.0]))
        assert np.asarray(cotangent("max", g, x, axis=1, xp=xp), dtype=float).tolist() == [[0, 3, 3], [3, 3, 3]]
        assert np.asarray(cotangent("min", g, x, axis=1, xp=xp), dtype=float).tolist() == [[6, 0, 0], [3, 3, 3]]
        inf = np.asarray(cotangent("vector_norm", g, x, axis=1, ord=math.inf, xp=xp), dtype=float)
        assert inf.tolist() == [[0, 3, 3], [3, 3, 3]]


def test_distances_to_kinks():
    x = np.array([[1.0, 3.0, 2.5], [2.0, 2.0, 1.0]])
    assert kinks("max", x, axis=1).tolist() == [[0.5], [0.0]]
    assert kinks("min", x, axis=1).tolist() == [[1.5], [1.0]]
    assert kinks("sort", x).tolist() == [[1.5, 0.5], [1.0, 0.0]]
    assert kinks("vector_norm", x, ord=1.0).tolist() == x.tolist()
    assert kinks("vector_norm", np.zeros((2, 2)), axis=1).tolist() == [0.0, 0.0]
    assert kinks("vector_norm", np.array([1.0, -1.0, 0.5]), ord=math.inf).tolist() == [0.0]
    assert kinks("vector_norm", np.zeros(1), ord=math.inf).tolist() == [0.0]
    assert kinks("std", np.ones((2, 3)), axis=1).tolist() == [0.0, 0.0]


def test_one_entry_alone_has_no_kink():
    for op in ("max", "min", "sort"):
        assert kinks(op, np.ones((3, 1)), axis=1).size == 0
    assert kinks("max", np.array(2.0)).size == 0


def test_declared_conventions_at_points_without_a_derivative():
    zero = np.zeros(3)
    for p in (1.0, 2.0, 3.0, math.inf):
        assert cotangent("vector_norm", np.array(5.0), zero, ord=p).tolist() == [0, 0, 0]
    assert cotangent("std", np.array(5.0), np.ones(3)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e200, 1e300])
@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, math.inf])
def test_norms_neither_overflow_nor_underflow(size, p):
    x = np.array([3.0, -4.0])
    scaled = size * x
    np.testing.assert_allclose(value("vector_norm", scaled, ord=p) / size, value("vector_norm", x, ord=p), rtol=1e-15)
    np.testing.assert_allclose(cotangent("vector_norm", np.array(1.0), scaled, ord=p),
                               cotangent("vector_norm", np.array(1.0), x, ord=p), rtol=1e-15)  # fmt: skip
    np.testing.assert_allclose(value("std", scaled), 3.5 * size, rtol=1e-15)
    np.testing.assert_allclose(cotangent("std", np.array(1.0), scaled), [0.5, -0.5], rtol=1e-15)


def test_logsumexp_far_from_zero():
    x = np.array([1e4, 1e4 - 1, -1e4])
    assert value("logsumexp", x) == pytest.approx(1e4 + math.log1p(math.exp(-1)), rel=2**-52)
    # exp(x - out) would lose log2(1e4) bits to the rounding of `out`; the ratio of exponentials does not.
    e = math.exp(-1)
    np.testing.assert_allclose(cotangent("logsumexp", np.array(1.0), x), [1 / (1 + e), e / (1 + e), 0], rtol=2**-51)


def test_logsumexp_of_minus_infinity():
    x = np.array([-np.inf, 0.0, -np.inf])
    assert value("logsumexp", x) == 0.0
    assert cotangent("logsumexp", np.array(1.0), x).tolist() == [0, 1, 0]
    with np.errstate(divide="ignore"):
        assert value("logsumexp", np.full(2, -np.inf)) == -np.inf


def test_sorting_sends_cotangents_back():
    x, g = np.array([[3.0, 1.0, 2.0]]), np.array([[10.0, 20.0, 30.0]])
    assert cotangent("sort", g, x).tolist() == [[30, 10, 20]]
    assert cotangent("sort", g, x, descending=True).tolist() == [[10, 30, 20]]


@pytest.mark.parametrize("op", ["sum", "prod", "vector_norm"])
def test_empty_reductions(op):
    x = np.zeros((2, 0, 3))
    assert value(op, x, axis=1).tolist() == [[1.0 if op == "prod" else 0.0] * 3] * 2
    assert cotangent(op, np.ones((2, 3)), x, axis=1).shape == x.shape
    assert cotangent(op, np.ones((2, 0)), x, axis=2).shape == x.shape


@pytest.mark.parametrize("op", ["cumulative_sum", "cumulative_prod", "sort"])
def test_empty_axes(op):
    x = np.zeros((2, 0))
    assert value(op, x).shape == cotangent(op, x, x).shape == (2, 0)


@pytest.mark.parametrize(
    ("op", "shape", "params", "says"),
    [
        ("sum", (2, 3), {"axis": 2}, "axis 2 is out of range for an array of 2 dimensions"),
        ("sum", (2, 3), {"axis": (0, -2)}, "names an axis twice"),
        ("mean", (2, 0), {"axis": 1}, r"shape \(2, 0\) has no elements along axis 1"),
        ("max", (0,), {}, "no elements"),
        ("logsumexp", (0,), {}, "no elements"),
        ("vector_norm", (0,), {"ord": math.inf}, "no elements"),
        ("var", (1,), {"correction": 1.0}, "1 elements along axis None: correction 1.0 leaves none"),
        ("argmax", (3, 0), {"axis": 1}, "no elements"),
        ("cumulative_sum", (), {}, "out of range for an array of 0 dimensions"),
    ],
)
def test_refused_shapes(op, shape, params, says):
    spec = OPS[op]
    with pytest.raises(ShapeError, match=says):
        spec.shape(shape, **bind_params(spec, params))


@pytest.mark.parametrize(("op", "params"), [("vector_norm", {"ord": 0.5}), ("var", {"correction": -1.0})])
def test_refused_parameters(op, params):
    with pytest.raises(ShapeError, match="outside"):
        bind_params(OPS[op], params)
