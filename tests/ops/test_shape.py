"""Ops that move data: sound by `check_op`, equal to PyTorch's, exact, and strict about shapes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradverify.core.errors import ShapeError
from gradverify.core.op import bind_params
from gradverify.namespaces import NUMPY
from gradverify.ops import FAMILIES, OPS
from gradverify.testing.ops import check_op


@pytest.mark.parametrize("spec", FAMILIES["shape"], ids=lambda s: s.name)
def test_declarations_are_sound(spec):
    check_op(spec)


# (op, shapes, params, PyTorch's): PyTorch's own forward and backward are the independent implementation.
CASES = [
    ("reshape", [(2, 6)], {"shape": (3, 4)}, lambda x: x.reshape(3, 4)),
    ("reshape", [(2, 6)], {"shape": (-1, 3)}, lambda x: x.reshape(-1, 3)),
    ("reshape", [()], {"shape": (1, 1)}, lambda x: x.reshape(1, 1)),
    ("reshape", [(0, 3)], {"shape": (0, 7)}, lambda x: x.reshape(0, 7)),
    ("permute_dims", [(2, 3, 4)], {"axes": (2, 0, 1)}, lambda x: x.permute(2, 0, 1)),
    ("permute_dims", [(2, 3, 4)], {"axes": (-1, 0, -2)}, lambda x: x.permute(-1, 0, -2)),
    ("permute_dims", [()], {"axes": ()}, lambda x: x.permute(())),
    ("matrix_transpose", [(2, 3, 4)], {}, lambda x: x.mT),
    ("moveaxis", [(2, 3, 4)], {"source": 0, "destination": -1}, lambda x: x.movedim(0, -1)),
    ("moveaxis", [(2, 3, 4)], {"source": -1, "destination": 1}, lambda x: x.movedim(-1, 1)),
    ("expand_dims", [(2, 3)], {"axis": -1}, lambda x: x.unsqueeze(-1)),
    ("expand_dims", [()], {"axis": 0}, lambda x: x.unsqueeze(0)),
    ("expand_dims", [(2, 3)], {"axis": 2}, lambda x: x.unsqueeze(2)),
    ("squeeze", [(1, 3, 1)], {"axis": None}, lambda x: x.squeeze()),
    ("squeeze", [(1, 3, 1)], {"axis": (0, -1)}, lambda x: x.squeeze((0, -1))),
    ("squeeze", [(1, 3, 1)], {"axis": -1}, lambda x: x.squeeze(-1)),
    ("broadcast_to", [(3, 1)], {"shape": (2, 3, 4)}, lambda x: x.expand(2, 3, 4)),
    ("broadcast_to", [()], {"shape": (2, 1)}, lambda x: x.expand(2, 1)),
    ("broadcast_to", [(1,)], {"shape": (0,)}, lambda x: x.expand(0)),
    ("concat", [(2, 3), (2, 1), (2, 0)], {"axis": -1}, lambda *xs: torch.cat(xs, -1)),
    ("concat", [(2, 3), (1, 3)], {"axis": 0}, lambda *xs: torch.cat(xs)),
    ("concat", [(2, 3)], {"axis": 1}, lambda *xs: torch.cat(xs, 1)),
    ("stack", [(2, 3)] * 3, {"axis": 1}, lambda *xs: torch.stack(xs, 1)),
    ("stack", [()] * 2, {"axis": -1}, lambda *xs: torch.stack(xs, -1)),
    ("flip", [(2, 3)], {"axis": None}, lambda x: x.flip(0, 1)),
    ("flip", [(2, 3)], {"axis": -1}, lambda x: x.flip(-1)),
    ("roll", [(2, 3)], {"shift": -1, "axis": 1}, lambda x: x.roll(-1, 1)),
    ("roll", [(2, 3)], {"shift": 4, "axis": None}, lambda x: x.roll(4)),
    ("repeat", [(2, 3)], {"repeats": 3, "axis": 0}, lambda x: x.repeat_interleave(3, 0)),
    ("repeat", [(2, 3)], {"repeats": 0, "axis": -1}, lambda x: x.repeat_interleave(0, -1)),
    ("tile", [(2, 3)], {"repetitions": (2, 1, 2)}, lambda x: x.tile(2, 1, 2)),
    ("tile", [(2, 3)], {"repetitions": (2,)}, lambda x: x.tile(2)),
    ("tile", [()], {"repetitions": ()}, lambda x: x.tile(())),
    ("pad", [(2, 3)], {"pads": ((1, 0), (0, 2))}, lambda x: torch.nn.functional.pad(x, (0, 2, 1, 0))),
    ("tril", [(2, 3, 4)], {"k": 1}, lambda x: x.tril(1)),
    ("triu", [(3, 3)], {"k": -1}, lambda x: x.triu(-1)),
    ("diagonal", [(2, 3, 4)], {}, lambda x: x.diagonal(dim1=-2, dim2=-1)),
    ("diagonal", [(4, 3)], {}, lambda x: x.diagonal(dim1=-2, dim2=-1)),
    ("diag_embed", [(2, 3)], {}, torch.diag_embed),
]


@pytest.mark.parametrize(("op", "shapes", "params", "function"), CASES, ids=lambda v: "" if callable(v) else str(v))
def test_values_and_cotangents_are_pytorchs_to_the_bit(op, shapes, params, function):
    rng = np.random.default_rng(1)
    spec, bound = OPS[op], bind_params(OPS[op], params)
    args = tuple(rng.integers(-8, 9, size=s).astype(float) for s in shapes)
    tensors = [torch.from_numpy(np.array(a)).requires_grad_() for a in args]
    want = function(*tensors)
    out = spec.define(NUMPY, *args, **bound)
    assert np.shape(out) == tuple(want.shape) == spec.shape(*shapes, **bound)
    assert np.array_equal(out, want.detach())
    if spec.composite:
        return
    # Small integers: sums of them are exact in whatever order.
    g = rng.integers(-8, 9, size=np.shape(out)).astype(float)
    cotangents = torch.autograd.grad(want, tensors, torch.from_numpy(np.array(g)))
    for i, c in enumerate(cotangents):
        assert np.array_equal(spec.cotangent(NUMPY, i, g, out, args, bound), c)


def test_every_op_of_the_family_is_compared():
    assert {c[0] for c in CASES} == {s.name for s in FAMILIES["shape"]}


def test_infinities_stay_where_they_are():
    g = np.array([np.inf, 1.0])
    spread = OPS["diagonal"].cotangent(NUMPY, 0, g, g, (np.ones((2, 2)),), {})
    assert spread.tolist() == [[np.inf, 0], [0, 1]]


@pytest.mark.parametrize(
    ("op", "shapes", "params", "says"),
    [
        ("reshape", [(2, 3)], {"shape": (4, 2)}, r"shapes \(2, 3\) and \(4, 2\) have 6 and 8 elements"),
        ("reshape", [(2, 3)], {"shape": (-1, 4)}, "6 elements do not decide"),
        ("reshape", [(0, 3)], {"shape": (-1, 0)}, "do not decide"),
        ("reshape", [(2, 3)], {"shape": (-1, -1)}, "only one may be -1"),
        ("reshape", [(2, 3)], {"shape": (-2, -3)}, "at least 0"),
        ("permute_dims", [(2, 3)], {"axes": (0,)}, "not a permutation of 2 axes"),
        ("permute_dims", [(2, 3)], {"axes": (0, 0)}, "twice"),
        ("matrix_transpose", [(3,)], {}, r"shape \(3,\) is not that of a matrix"),
        ("moveaxis", [(2, 3)], {"source": 2, "destination": 0}, "source 2 is out of range"),
        ("expand_dims", [(2, 3)], {"axis": 3}, "axis 3 is out of range"),
        ("squeeze", [(2, 1)], {"axis": 0}, "has size 2 along axis 0"),
        ("broadcast_to", [(2, 3)], {"shape": (3,)}, r"shape \(2, 3\) does not broadcast to \(3,\)"),
        ("broadcast_to", [(2,)], {"shape": (3, 4)}, r"shape \(2,\) does not broadcast to \(3, 4\)"),
        ("concat", [(2, 3), (3, 3)], {"axis": 1}, r"shapes \(2, 3\) and \(3, 3\) differ in more than axis 1"),
        ("concat", [()], {"axis": 0}, "out of range"),
        ("stack", [(2, 3), (3, 3)], {}, r"shapes \(2, 3\) and \(3, 3\) differ"),
        ("flip", [(2,)], {"axis": 1}, "out of range"),
        ("tile", [(2,)], {"repetitions": (-1,)}, "negative"),
        ("pad", [(2, 3)], {"pads": ((1, 1),)}, r"1 pairs of pads for shape \(2, 3\)"),
        ("pad", [(2,)], {"pads": ((-1, 0),)}, "negative pad"),
        ("tril", [(2,)], {}, "not that of a matrix"),
        ("diag_embed", [()], {}, "not that of a vector"),
    ],
)
def test_refused_shapes(op, shapes, params, says):
    spec = OPS[op]
    with pytest.raises(ShapeError, match=says):
        spec.shape(*shapes, **bind_params(spec, params))
