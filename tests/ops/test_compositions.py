"""Compositions: sound by `check_op`, equal to PyTorch's and SciPy's, stable far from zero."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.special
import torch
import torch.nn.functional as F

from gradverify.core.errors import ShapeError
from gradverify.core.op import bind_params
from gradverify.namespaces import NUMPY
from gradverify.namespaces.run import forward, reverse
from gradverify.ops import FAMILIES, OPS
from gradverify.ops.build import GraphBuilder, lowered
from gradverify.testing.ops import check_op

ROUNDING = 2.0**-44
"""512 roundoffs: at most 24 entries, and a chain of ten or so kernels forward and as many back."""


def classes(rng):
    shape = tuple(int(n) for n in rng.integers(1, 4, size=rng.integers(1, 4)))
    return (rng.normal(size=shape) * 3, rng.integers(0, shape[-1], size=shape[:-1])), {}


def moderate(rng):
    """Next to 0 a log-softmax keeps decimals, not digits (see its doc), so no entry may dominate the others here."""
    shape = tuple(int(n) for n in rng.integers(2, 4, size=rng.integers(1, 4)))
    return (rng.uniform(-1, 1, size=shape) + rng.integers(-9, 9),), {"axis": int(rng.integers(-len(shape), len(shape)))}


DRAW = {"nll_loss": classes, "cross_entropy": classes, "log_softmax": moderate}


@pytest.mark.parametrize("spec", FAMILIES["compositions"], ids=lambda s: s.name)
def test_declarations_are_sound(spec):
    check_op(spec, draw=DRAW.get(spec.name))


def normal(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape)


def labels(n, *shape):
    return np.random.default_rng(1).integers(0, n, size=shape)


CASES = [
    ("softmax", (normal(2, 5),), {"axis": -1}, lambda x: F.softmax(x, -1)),
    ("softmax", (normal(2, 3, 4),), {"axis": 1}, lambda x: F.softmax(x, 1)),
    ("softmax", (normal(2, 0),), {"axis": 1}, lambda x: F.softmax(x, 1)),
    ("softmax", (normal(1),), {"axis": 0}, lambda x: F.softmax(x, 0)),
    ("log_softmax", (normal(2, 5),), {"axis": 0}, lambda x: F.log_softmax(x, 0)),
    ("log_softmax", (normal(2, 0),), {"axis": 1}, lambda x: F.log_softmax(x, 1)),
    ("cumulative_logsumexp", (normal(2, 5) * 9,), {"axis": -1}, lambda x: torch.logcumsumexp(x, -1)),
    ("cumulative_logsumexp", (normal(2, 3, 4),), {"axis": 1}, lambda x: torch.logcumsumexp(x, 1)),
    ("cumulative_logsumexp", (normal(2, 0),), {"axis": 1}, lambda x: torch.logcumsumexp(x, 1)),
    ("cumulative_logsumexp", (normal(1),), {"axis": 0}, lambda x: torch.logcumsumexp(x, 0)),
    ("standardize", (normal(3, 5),), {"eps": 1e-3}, lambda x: F.layer_norm(x, (5,), eps=1e-3)),
    ("standardize", (normal(3, 5),), {"axis": 0}, lambda x: F.layer_norm(x.mT, (3,)).mT),
    ("layer_norm", (normal(2, 3, 5), normal(5), normal(5) + 1), {}, lambda x, w, b: F.layer_norm(x, (5,), w, b)),
    ("rms_norm", (normal(2, 3, 5), normal(5)), {}, lambda x, w: F.rms_norm(x, (5,), w, eps=1e-5)),
    ("normalize", (normal(3, 4),), {"axis": 0}, lambda x: F.normalize(x, dim=0)),
    ("normalize", (normal(3, 4) / 10,), {"eps": 1.0}, lambda x: F.normalize(x, dim=-1, eps=1.0)),
    ("cosine_similarity", (normal(3, 4), normal(3, 4) + 1), {}, lambda x, y: F.cosine_similarity(x, y, dim=-1)),
    ("linear", (normal(2, 3, 4), normal(5, 4), normal(5)), {}, F.linear),
    ("linear", (normal(4), normal(5, 4), normal(5)), {}, F.linear),
    ("scaled_dot_product_attention", (normal(2, 3, 4), normal(2, 5, 4), normal(2, 5, 6)), {},
     F.scaled_dot_product_attention),
    ("scaled_dot_product_attention", (normal(3, 4), normal(5, 4), normal(5, 6)), {}, F.scaled_dot_product_attention),
    ("mse_loss", (normal(3, 4), normal(3, 4) + 1), {}, F.mse_loss),
    ("huber_loss", (normal(3, 4) * 3, normal(3, 4) + 1), {"delta": 0.7}, lambda x, y: F.huber_loss(x, y, delta=0.7)),
    ("nll_loss", (normal(3, 4), labels(4, 3)), {}, F.nll_loss),
    ("nll_loss", (normal(4), labels(4)), {}, F.nll_loss),
    ("cross_entropy", (normal(6, 4) * 4, labels(4, 6)), {}, F.cross_entropy),
    ("cross_entropy", (normal(2, 3, 4), labels(4, 2, 3)), {},
     lambda x, t: F.cross_entropy(x.flatten(0, 1), t.flatten())),
]  # fmt: skip


def test_every_op_of_the_family_is_compared():
    assert {c[0] for c in CASES} == {s.name for s in FAMILIES["compositions"]}


@pytest.mark.parametrize(("op", "args", "params", "function"), CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_values_and_gradients_are_pytorchs(op, args, params, function):
    """Through the lowered graph: what the oracle and the budget walk."""
    spec = OPS[op]
    tensors = [torch.from_numpy(np.array(a)) for a in args]
    floats = {f"x{i}": t.requires_grad_() for i, t in enumerate(tensors) if t.is_floating_point()}
    want = function(*tensors)
    b = GraphBuilder()
    leaves = [b.input(f"x{i}", a.shape, spec.argument(i)) for i, a in enumerate(args)]
    graph = lowered(b.graph(b.apply(op, *leaves, **params)))
    values = forward(NUMPY, graph, {f"x{i}": a for i, a in enumerate(args)}, "float64")
    out = values[graph.outputs[0]]
    assert np.shape(out) == tuple(want.shape)
    np.testing.assert_allclose(out, want.detach(), rtol=ROUNDING, atol=ROUNDING)
    np.testing.assert_allclose(spec.define(NUMPY, *args, **bind_params(spec, params)), out, rtol=ROUNDING, atol=1e-300)
    g = np.random.default_rng(8).normal(size=np.shape(out))
    adjoints = reverse(NUMPY, graph, values, [g], list(floats))
    wanted = torch.autograd.grad(want, list(floats.values()), torch.from_numpy(np.array(g)))
    for (name, t), w in zip(floats.items(), wanted):
        assert adjoints[graph.inputs[name]].shape == tuple(t.shape)
        np.testing.assert_allclose(adjoints[graph.inputs[name]], w, rtol=ROUNDING, atol=ROUNDING)


# ---- edges ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [0.0, 1e3, -1e5, 1e300])
def test_softmax_does_not_overflow_and_ignores_a_shift(shift):
    x = np.array([0.0, 1.0, 3.0, -2.0]) * (1 if shift < 1e300 else 0) + shift
    want = scipy.special.softmax(x - shift)
    softmax, log_softmax = OPS["softmax"], OPS["log_softmax"]
    np.testing.assert_allclose(softmax.define(NUMPY, x), want, rtol=ROUNDING)
    np.testing.assert_allclose(log_softmax.define(NUMPY, x), np.log(want), rtol=ROUNDING)
    g = np.array([1.0, 2.0, -1.0, 0.5])
    np.testing.assert_allclose(softmax.cotangent(NUMPY, 0, g, want, (x,), {}), want * (g - want @ g), rtol=ROUNDING)
    got = log_softmax.cotangent(NUMPY, 0, g, log_softmax.define(NUMPY, x), (x,), {})
    np.testing.assert_allclose(got, g - want * g.sum(), rtol=ROUNDING)


def test_log_softmax_in_the_tails():
    """The far end keeps its digits; the near end keeps 16 decimals, being -log1p(e^-40) = -4.2e-18."""
    got = OPS["log_softmax"].define(NUMPY, np.array([0.0, -40.0, -800.0]))
    assert got[1:].tolist() == [-40.0, -800.0]
    assert abs(got[0] - -math.exp(-40)) <= 2.0**-53


def test_softmax_at_a_tied_maximum_is_smooth():
    for op in ("softmax", "log_softmax", "logsumexp"):
        assert OPS[op].kinks is None
    x, g = np.array([1.0, 1.0]), np.array([1.0, 0.0])
    assert OPS["softmax"].cotangent(NUMPY, 0, g, np.array([0.5, 0.5]), (x,), {}).tolist() == [0.25, -0.25]


@pytest.mark.parametrize(("d", "loss"), [(0.0, 0.0), (0.5, 0.125), (1.0, 0.5), (-1.0, 0.5), (3.0, 2.5), (-4.0, 3.5)])
def test_huber_on_both_branches_and_between(d, loss):
    b = GraphBuilder()
    graph = lowered(b.graph(b.apply("huber_loss", b.input("x", ()), b.input("y", ()))))
    values = forward(NUMPY, graph, {"x": np.array(d + 2), "y": np.array(2.0)}, "float64")
    assert values[graph.outputs[0]] == loss
    adjoint = reverse(NUMPY, graph, values, [np.array(1.0)], ["x"])[graph.inputs["x"]]
    assert adjoint == max(min(d, 1.0), -1.0)


@pytest.mark.parametrize(
    ("op", "shapes", "says"),
    [
        ("softmax", [()], "out of range"),
        ("standardize", [(2, 0)], "no elements along axis -1"),
        ("layer_norm", [(2, 3), (3,), (2,)], r"shapes \(2, 3\) and \(2,\): a weight of shape \(3,\)"),
        ("rms_norm", [(), ()], "no elements along a last axis"),
        ("linear", [(2, 3), (4, 2), (4,)], r"\(2, 3\), \(4, 2\) and \(4,\) of input, weight and bias"),
        ("linear", [(2, 3), (4, 3), (3,)], "input, weight and bias"),
        ("mse_loss", [(2, 3), (3,)], r"shapes \(2, 3\) and \(3,\) of input and target differ"),
        ("mse_loss", [(0,), (0,)], "no elements"),
        ("nll_loss", [(2, 3), (3,)], r"shapes \(2, 3\) and \(3,\): one class index"),
        ("cross_entropy", [(2, 0), (2,)], "no elements"),
        ("cosine_similarity", [(2, 3), (3,)], "differ"),
        ("scaled_dot_product_attention", [(2, 3), (5, 4), (5, 2)], "inner sizes 3 and 4"),
        ("scaled_dot_product_attention", [(3,), (5, 3), (5, 2)], "matrices"),
        ("scaled_dot_product_attention", [(2, 2, 3), (5, 3), (5, 2)], "the batches differ"),
    ],
)
def test_refused_shapes(op, shapes, says):
    spec = OPS[op]
    with pytest.raises(ShapeError, match=says):
        spec.shape(*shapes, **bind_params(spec, {}))
