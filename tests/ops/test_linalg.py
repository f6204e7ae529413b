"""Linear algebra: sound by `check_op`, equal to PyTorch's and to exact rational arithmetic, in every rank."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from gradverify.core.errors import ShapeError
from gradverify.core.op import bind_params
from gradverify.namespaces import NUMPY
from gradverify.ops import FAMILIES, OPS
from gradverify.oracle.balls import BALLS
from gradverify.oracle.mp import MPMATH
from gradverify.oracle.precision import working
from gradverify.testing.ops import check_op

ROUNDING = 2.0**-44
"""512 roundoffs: matrices here have at most 5 rows and a condition below 10 by Gershgorin (`linalg.dominant`), so a
backward stable solution errs by about 10 * 5 roundoffs, and a cotangent multiplies two or three of those."""


def einsum(rng):
    """Subscripts with shared, summed and repeated letters."""
    sizes = {c: int(rng.integers(1, 4)) for c in "ijkl"}
    words = ["".join(rng.choice(list(sizes), size=rng.integers(0, 3))) for _ in range(rng.integers(1, 4))]
    letters = sorted(set("".join(words)))
    output = "".join(rng.permutation(letters)[: rng.integers(0, len(letters) + 1)])
    args = tuple(rng.normal(size=[sizes[c] for c in w]) for w in words)
    return args, {"subscripts": ",".join(words) + rng.choice(["", "->" + output])}


@pytest.mark.parametrize("spec", FAMILIES["linalg"], ids=lambda s: s.name)
def test_declarations_are_sound(spec):
    check_op(spec, draw=einsum if spec.name == "einsum" else None)


@pytest.mark.parametrize("spec", [s for s in FAMILIES["linalg"] if s.guard], ids=lambda s: s.name)
@pytest.mark.parametrize("n", [0, 1, 2, 3, 5])
def test_guards_make_good_arguments_of_any(spec, n):
    x = np.random.default_rng(n).uniform(-50, 50, size=(2, n, n))
    args = spec.guard(NUMPY, *(x,) * spec.arity)
    assert isinstance(args, tuple)
    assert [a.shape for a in args] == [x.shape] * spec.arity
    if n:
        assert (np.linalg.cond(args[0]) < 10).all()
    assert np.isfinite(spec.define(NUMPY, *args)).all()
    if spec.name == "cholesky":
        assert np.array_equal(args[0], np.swapaxes(args[0], -1, -2))


# ---- PyTorch's values and gradients ---------------------------------------------------------------------------------


def compared(op, args, params, function):
    spec, bound = OPS[op], bind_params(OPS[op], params)
    tensors = [torch.from_numpy(np.array(a)).requires_grad_() for a in args]
    want = function(*tensors)
    out = spec.define(NUMPY, *args, **bound)
    assert spec.shape(*(a.shape for a in args), **bound) == np.shape(out) == tuple(want.shape)
    np.testing.assert_allclose(out, want.detach(), rtol=ROUNDING, atol=ROUNDING)
    if spec.composite:
        return
    g = np.random.default_rng(8).normal(size=np.shape(out))
    wanted = torch.autograd.grad(want, tensors, torch.from_numpy(np.array(g)), allow_unused=True)
    for i, w in enumerate(wanted):
        got = spec.cotangent(NUMPY, i, g, out, args, bound)
        assert got.shape == args[i].shape
        np.testing.assert_allclose(got, w, rtol=ROUNDING, atol=ROUNDING)


def normal(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape)


def regular(*shape):
    return OPS["inv"].guard(NUMPY, normal(*shape))[0]


def definite(*shape):
    return OPS["cholesky"].guard(NUMPY, normal(*shape))[0]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3,), (3,)), ((3,), (3, 4)), ((2, 3), (3,)), ((2, 3), (3, 4)),
        ((5, 2, 3), (3,)), ((3,), (5, 3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)),
        ((5, 2, 3), (5, 3, 4)), ((1, 2, 3), (5, 3, 4)), ((5, 1, 2, 3), (6, 3, 4)), ((6, 2, 3), (5, 1, 3, 4)),
        ((5, 6, 2, 3), (3, 4)), ((1, 1), (1, 1)), ((2, 0), (0, 3)), ((0, 3), (3, 2)), ((0,), (0,)), ((4, 0, 3), (3, 2)),
    ],
    ids=str,
)  # fmt: skip
def test_matmul_in_every_rank(a, b):
    compared("matmul", (normal(*a), normal(*b)), {}, torch.matmul)


SUBSCRIPTS = [
    ("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk", (2, 3), (3, 4)), ("ba", (2, 3)), ("i,i", (3,), (3,)),
    ("i,j->ij", (3,), (2,)), ("ij->", (2, 3)), ("ij->j", (2, 3)), ("ii->i", (3, 3)), ("ii", (3, 3)),
    ("iij->j", (3, 3, 2)), ("iii->i", (2, 2, 2)), ("bij,bjk->bik", (2, 2, 3), (2, 3, 1)),
    ("ij,ij->ij", (2, 3), (2, 3)), ("ij,kl->il", (2, 3), (4, 2)), ("i,ij,j->", (2,), (2, 3), (3,)),
    ("ij,jj->i", (2, 3), (3, 3)), (",i->i", (), (3,)), ("i->i", (0,)), ("ij->j", (0, 2)),
    ("aB,Bc -> ca", (2, 3), (3, 2)),
]  # fmt: skip


@pytest.mark.parametrize("case", SUBSCRIPTS, ids=str)
def test_einsum(case):
    subscripts, *shapes = case
    args = tuple(normal(*s) for s in shapes)
    compared("einsum", args, {"subscripts": subscripts}, lambda *xs: torch.einsum(subscripts, *xs))
    assert np.allclose(OPS["einsum"].define(NUMPY, *args, subscripts=subscripts), np.einsum(subscripts, *args))


@pytest.mark.parametrize("xp", [BALLS, MPMATH], ids=lambda xp: xp.name)
@pytest.mark.parametrize("case", SUBSCRIPTS, ids=str)
def test_einsum_in_high_precision(case, xp):
    subscripts, *shapes = case
    args = tuple(normal(*s) for s in shapes)
    with working():
        out = OPS["einsum"].define(xp, *(xp.asarray(a) for a in args), subscripts=subscripts)
        want = np.einsum(subscripts, *args)
        assert np.shape(out) == want.shape
        np.testing.assert_allclose(np.asarray(out, dtype=float), want, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize(
    ("op", "args", "params", "function"),
    [
        ("outer", (normal(3), normal(2)), {}, torch.outer),
        ("outer", (normal(0), normal(2)), {}, torch.outer),
        ("vecdot", (normal(2, 3), normal(2, 3)), {}, torch.linalg.vecdot),
        ("vecdot", (normal(4, 1, 3), normal(2, 3)), {}, torch.linalg.vecdot),
        ("vecdot", (normal(3, 2), normal(4, 3, 1)), {"axis": -2}, lambda x, y: torch.linalg.vecdot(x, y, dim=-2)),
        ("tensordot", (normal(2, 3, 4), normal(3, 4, 5)), {"axes": 2}, lambda x, y: torch.tensordot(x, y, 2)),
        ("tensordot", (normal(2), normal(3)), {"axes": 0}, lambda x, y: torch.tensordot(x, y, 0)),
        ("cross", (normal(2, 3), normal(2, 3) + 1), {}, torch.linalg.cross),
        ("cross", (normal(3, 2), normal(3, 2) + 1), {"axis": 0}, lambda x, y: torch.linalg.cross(x, y, dim=0)),
        ("trace", (normal(3, 3),), {}, torch.trace),
        ("trace", (normal(2, 3, 4),), {}, lambda x: x.diagonal(dim1=-2, dim2=-1).sum(-1)),
        *(
            ("matrix_power", (normal(2, 3, 3),), {"n": n}, lambda x, n=n: torch.linalg.matrix_power(x, n))
            for n in (1, 2, 3, 6, 7)
        ),
        ("det", (normal(3, 3),), {}, torch.linalg.det),
        ("det", (normal(2, 1, 4, 4),), {}, torch.linalg.det),
        ("det", (regular(5, 5),), {}, torch.linalg.det),
        ("det", (normal(1, 1),), {}, torch.linalg.det),
        ("logabsdet", (regular(2, 4, 4),), {}, lambda x: torch.linalg.slogdet(x).logabsdet),
        ("logabsdet", (-regular(3, 3),), {}, lambda x: torch.linalg.slogdet(x).logabsdet),
        ("inv", (regular(2, 4, 4),), {}, torch.linalg.inv),
        ("solve", (regular(3, 3), normal(3)), {}, torch.linalg.solve),
        ("solve", (regular(3, 3), normal(3, 2)), {}, torch.linalg.solve),
        ("solve", (regular(2, 3, 3), normal(2, 3, 1)), {}, torch.linalg.solve),
        ("solve", (regular(3, 3), normal(2, 3, 2)), {}, torch.linalg.solve),
        ("solve", (regular(2, 3, 3), normal(3)), {}, lambda a, b: torch.linalg.solve(a, b[:, None])[..., 0]),
        ("solve", (regular(4, 1, 3, 3), normal(2, 3, 2)), {}, torch.linalg.solve),
        ("cholesky", (definite(4, 4),), {}, torch.linalg.cholesky),
        ("cholesky", (definite(2, 3, 3),), {}, torch.linalg.cholesky),
        *(
            ("solve_triangular", (regular(*a), normal(*b)), {"upper": upper, "unit_diagonal": unit},
             lambda a, b, upper=upper, unit=unit:
                 torch.linalg.solve_triangular(a, b, upper=upper, unitriangular=unit))
            for a, b in (((3, 3), (3, 2)), ((2, 3, 3), (3, 2)), ((3, 3), (2, 3, 2)), ((2, 3, 3), (2, 3, 1)))
            for upper in (False, True) for unit in (False, True)
        ),
    ],
    ids=lambda v: v if isinstance(v, str) else str(v) if isinstance(v, dict) and v else "",
)  # fmt: skip
def test_values_and_cotangents_are_pytorchs(op, args, params, function):
    compared(op, args, params, function)


# ---- edges ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "rank"), [*((n, r) for n in (1, 2, 3, 4) for r in range(n + 1)), (5, 4), (6, 5), (7, 0)])
def test_the_gradient_of_det_at_singular_matrices(n, rank):
    """Cofactors, in rational arithmetic: a matrix of small integers with linearly dependent rows."""
    rng = np.random.default_rng(10 * n + rank)
    x = (rng.integers(-3, 4, size=(n, rank)) @ rng.integers(-3, 4, size=(rank, n))).astype(float)
    got = OPS["det"].cotangent(NUMPY, 0, np.array(1.0), np.linalg.det(x), (x,), {})
    for i in range(n):
        for j in range(n):
            minor = np.delete(np.delete(x, i, 0), j, 1)
            want = (-1) ** (i + j) * leibniz([[Fraction(v) for v in row] for row in minor.tolist()])
            assert got[i, j] == pytest.approx(float(want), abs=ROUNDING * max(1, np.abs(x).max()) ** n)


def leibniz(rows):
    if not rows:
        return Fraction(1)
    return sum((-1) ** j * v * leibniz([r[:j] + r[j + 1 :] for r in rows[1:]]) for j, v in enumerate(rows[0]))


@pytest.mark.parametrize("xp", [BALLS, MPMATH], ids=lambda xp: xp.name)
def test_high_precision_det_of_a_singular_matrix_holds_zero(xp):
    with working():
        # Rational entries with inexact elimination factors: 1/3 is no binary fraction.
        x = xp.divide(xp.asarray(np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [1.0, 0.0, 5.0]])), 3)
        det = xp.det(x)[()]
        assert abs(float(det)) < 1e-55
        if xp is BALLS:
            assert det.contains(0)


@pytest.mark.parametrize("dependent", ["columns", "rows", "zeros"])
@pytest.mark.parametrize("n", [2, 3, 5, 7])
def test_balls_enclose_a_determinant_of_zero_tightly(n, dependent):
    """Wherever the dependent ones stand: Arb bounds what is left of a matrix without a pivot by its other columns."""
    x = normal(n, n)
    with working():
        x = BALLS.divide(BALLS.asarray(x), 3)
        if dependent == "zeros":
            x[:, 0] = BALLS.asarray(np.zeros(n))
        elif dependent == "columns":
            x[:, 1] = BALLS.divide(x[:, 0], 7)
        else:
            x[1] = BALLS.divide(x[0], 7)
        det = BALLS.det(x)[()]
        assert det.contains(0)
        assert float(det.rad()) < 1e-50


def test_det_of_no_rows_is_one():
    for xp in (NUMPY, BALLS, MPMATH):
        x = xp.asarray(np.zeros((2, 0, 0)))
        assert np.asarray(xp.det(x), dtype=float).tolist() == [1, 1]
        assert OPS["det"].cotangent(xp, 0, xp.det(x), xp.det(x), (x,), {}).shape == (2, 0, 0)


def test_cholesky_reads_the_symmetric_part():
    x = definite(3, 3)
    skew = np.triu(normal(3, 3), 1)
    tilted = x + skew - skew.T
    for xp in (NUMPY, BALLS, MPMATH):
        with working():
            got = np.asarray(xp.cholesky(xp.asarray(tilted)), dtype=float)
        np.testing.assert_allclose(got, np.linalg.cholesky(x), rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize(
    ("op", "shapes", "params", "says"),
    [
        ("matmul", [(3, 4), (5, 2)], {}, r"shapes \(3, 4\) and \(5, 2\): inner sizes 4 and 5 differ"),
        ("matmul", [(), (2,)], {}, "a scalar is no matrix"),
        ("matmul", [(2, 1, 3), (4, 3, 1)], {}, r"batches \(2,\) and \(4,\) do not broadcast"),
        ("matmul", [(3,), (4,)], {}, "inner sizes 3 and 4"),
        ("einsum", [(2, 3)], {"subscripts": "ij,jk"}, "name 2 operands, got 1"),
        ("einsum", [(2, 3)], {"subscripts": "ijk"}, r"'ijk' name 3 axes of shape \(2, 3\)"),
        ("einsum", [(2, 3), (2, 4)], {"subscripts": "ij,ij"}, "'j' is 3 and 4"),
        ("einsum", [(2, 3)], {"subscripts": "ii"}, "'i' is 2 and 3"),
        ("einsum", [(2, 3)], {"subscripts": "ij->k"}, "'k' of the output is in no operand"),
        ("einsum", [(2, 3)], {"subscripts": "ij->ii"}, "'i' twice in the output"),
        ("einsum", [(2, 3)], {"subscripts": "...j"}, "only letters"),
        ("einsum", [(2, 3)], {"subscripts": "ij->i->j"}, "only letters"),
        ("outer", [(2, 1), (3,)], {}, "two vectors"),
        ("vecdot", [(2,), (3,)], {}, "sizes 2 and 3"),
        ("vecdot", [(2, 2), (2, 2)], {"axis": 0}, "must be negative"),
        ("tensordot", [(2, 3), (4, 3)], {"axes": 1}, "the last 1 axes"),
        ("cross", [(2,), (2,)], {}, "3 entries"),
        ("det", [(2, 3)], {}, "not that of a square matrix: 2 rows, 3 columns"),
        ("inv", [(2,)], {}, "not that of a matrix"),
        ("solve", [(2, 2), (3,)], {}, "2 unknowns, but 3 rows"),
        ("solve", [(2, 2), ()], {}, "a vector or a matrix"),
        ("solve", [(3, 2, 2), (2, 2, 1)], {}, "do not broadcast"),
        ("solve_triangular", [(2, 2), (2,)], {}, "the right-hand side is a matrix"),
        ("cholesky", [(2, 3)], {}, "square"),
    ],
)
def test_refused_shapes(op, shapes, params, says):
    spec = OPS[op]
    with pytest.raises(ShapeError, match=says):
        spec.shape(*shapes, **bind_params(spec, params))


def test_matrix_power_refuses_inverses():
    with pytest.raises(ShapeError, match="outside"):
        bind_params(OPS["matrix_power"], {"n": 0})
