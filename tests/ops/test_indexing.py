"""Indexing, gather and scatter: sound by `check_op`, equal to NumPy's and PyTorch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradverify.core.errors import ShapeError
from gradverify.core.op import bind_params
from gradverify.namespaces import NUMPY
from gradverify.ops import FAMILIES, OPS
from gradverify.testing.ops import check_op


def drawn_take(rng):
    shape = tuple(int(n) for n in rng.integers(1, 4, size=rng.integers(1, 4)))
    axis = int(rng.integers(-len(shape), len(shape)))
    indices = rng.integers(0, shape[axis], size=rng.integers(0, 4, size=rng.integers(0, 3)))
    return rng.normal(size=shape), np.asarray(indices, dtype=np.int64), axis


def take(rng):
    x, indices, axis = drawn_take(rng)
    return (x, indices), {"axis": axis}


def index_add(rng):
    x, indices, axis = drawn_take(rng)
    return (x, indices, rng.normal(size=np.take(x, indices, axis).shape)), {"axis": axis}


def drawn_gather(rng):
    shape = [int(n) for n in rng.integers(1, 4, size=rng.integers(1, 4))]
    x = rng.normal(size=shape)
    axis = int(rng.integers(-len(shape), len(shape)))
    size = shape[axis]
    shape[axis] = int(rng.integers(0, 5))
    return x, rng.integers(0, size, size=shape), axis


def gather(rng):
    x, indices, axis = drawn_gather(rng)
    return (x, indices), {"axis": axis}


def scatter(rng):
    x, indices, axis = drawn_gather(rng)
    return (x, indices, rng.normal(size=indices.shape)), {"axis": axis}


DRAW = {"take": take, "index_add": index_add, "take_along_axis": gather, "scatter_add": scatter}


@pytest.mark.parametrize("spec", FAMILIES["indexing"], ids=lambda s: s.name)
def test_declarations_are_sound(spec):
    check_op(spec)
    if spec.name in DRAW:
        check_op(spec, draw=DRAW[spec.name])


INDICES = [
    ((), np.s_[()]),
    ((0,), np.s_[0]),
    ((-1, 2), np.s_[-1, 2]),
    ((None,), np.s_[None]),
    (("...",), np.s_[...]),
    (("...", -1), np.s_[..., -1]),
    ((1, "..."), np.s_[1, ...]),
    ((None, "...", None), np.s_[None, ..., None]),
    (((None, None, -1),), np.s_[::-1]),
    (((None, None, None), (3, None, -2)), np.s_[:, 3::-2]),
    (((1, 1, 1),), np.s_[1:1]),
    (((-2, None, 1), 0, (0, 99, 2)), np.s_[-2:, 0, 0:99:2]),
    ((0, None, "...", (None, -1, None)), np.s_[0, None, ..., :-1]),
    (((2, 0, -1), "...", 1), np.s_[2:0:-1, ..., 1]),
]


@pytest.mark.parametrize(("index", "native"), INDICES, ids=lambda v: "" if callable(v) else str(v))
def test_an_index_means_what_numpy_means_by_it(index, native):
    x = np.random.default_rng(1).normal(size=(3, 4, 5))
    getitem, embed = OPS["getitem"], OPS["embed"]
    want = x[native]
    assert getitem.shape(x.shape, index=index) == want.shape
    assert np.array_equal(getitem.define(NUMPY, x, index=index), want)
    placed = np.zeros_like(x)
    placed[native] = want
    params = {"index": index, "shape": x.shape}
    assert embed.shape(want.shape, **params) == x.shape
    assert np.array_equal(embed.define(NUMPY, want, **params), placed)
    assert np.array_equal(getitem.cotangent(NUMPY, 0, want, want, (x,), {"index": index}), placed)
    assert np.array_equal(embed.cotangent(NUMPY, 0, x, placed, (want,), params), want)


def compared(op, args, params, function):
    """Values and cotangents of `op` against PyTorch's, to the bit: small integers add exactly."""
    spec, rng = OPS[op], np.random.default_rng(7)
    tensors = [torch.from_numpy(np.array(a)) for a in args]
    floats = [t.requires_grad_() for t in tensors if t.is_floating_point()]
    want = function(*tensors)
    out = spec.define(NUMPY, *args, **params)
    assert spec.shape(*(a.shape for a in args), **params) == np.shape(out) == tuple(want.shape)
    assert np.array_equal(out, want.detach())
    g = rng.integers(-8, 9, size=np.shape(out)).astype(float)
    got = [spec.cotangent(NUMPY, i, g, out, args, params) for i in range(len(args)) if spec.differentiable(i)]
    assert len(got) == len(floats)
    for c, w in zip(got, torch.autograd.grad(want, floats, torch.from_numpy(np.array(g)))):
        assert np.array_equal(c, w)


def integers(*shape):
    return np.random.default_rng(3).integers(-8, 9, size=shape).astype(float)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_take_and_index_add_are_pytorchs_with_repeated_indices(axis):
    i = np.array([1, 0, 1, 1])
    compared("take", (integers(2, 3, 4), i), {"axis": axis}, lambda x, i: x.index_select(axis, i))
    u = np.take(integers(2, 3, 4), i, axis)
    compared("index_add", (integers(2, 3, 4), i, u), {"axis": axis}, lambda x, i, u: x.index_add(axis, i, u))


def test_take_with_indices_of_any_rank():
    table = integers(5, 3)
    compared("take", (table, np.array([[1, 4], [1, 0]])), {"axis": 0}, lambda x, i: torch.nn.functional.embedding(i, x))
    compared("take", (table, np.array(2)), {"axis": 0}, lambda x, i: x[2])
    compared("take", (table, np.zeros((0,), dtype=np.int64)), {"axis": 1}, lambda x, i: x[:, :0])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather_and_scatter_are_pytorchs_with_repeated_indices(axis):
    i = np.zeros((2, 2, 2), dtype=np.int64)
    i[1] = 1
    compared("take_along_axis", (integers(2, 2, 2), i), {"axis": axis}, lambda x, i: x.gather(axis, i))
    compared("scatter_add", (integers(2, 2, 2), i, integers(2, 2, 2)), {"axis": axis},
             lambda x, i, u: x.scatter_add(axis, i, u))  # fmt: skip


@pytest.mark.parametrize(
    ("op", "shapes", "params", "says"),
    [
        ("getitem", [(3,)], {"index": (3,)}, "index 3 is out of range for size 3"),
        ("getitem", [(3,)], {"index": (0, 0)}, r"names 2 axes of an array of shape \(3,\)"),
        ("getitem", [(3, 3)], {"index": ("...", "...")}, "more than one"),
        ("getitem", [(3,)], {"index": ((0, 3, 0),)}, "step of 0"),
        ("getitem", [(3,)], {"index": (1.5,)}, "1.5 is neither"),
        ("getitem", [(3,)], {"index": (True,)}, "True is neither"),
        ("getitem", [(3,)], {"index": 0}, "must be a tuple"),
        ("embed", [(2,)], {"index": ((0, 3, 1),), "shape": (5,)}, r"selects \(3,\)"),
        ("take", [(3,), (2,)], {"axis": 1}, "out of range"),
        ("take", [(0,), (2,)], {"axis": 0}, "has nothing along axis 0"),
        ("index_add", [(3, 2), (4,), (4, 3)], {"axis": 0}, r"shape \(4, 2\) is needed"),
        ("take_along_axis", [(3, 2), (3, 3)], {"axis": 0}, r"shapes \(3, 2\) and \(3, 3\)"),
        ("take_along_axis", [(3, 2), (3,)], {"axis": 0}, "differ"),
        ("scatter_add", [(3, 2), (4, 2), (3, 2)], {"axis": 0}, r"shapes \(4, 2\) and \(3, 2\)"),
    ],
)
def test_refused_shapes(op, shapes, params, says):
    spec = OPS[op]
    with pytest.raises(ShapeError, match=says):
        spec.shape(*shapes, **bind_params(spec, params))
