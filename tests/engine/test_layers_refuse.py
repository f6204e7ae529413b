"""What layers and losses refuse, and the names and defaults that go with it: the engine beside PyTorch.

Each case runs under both modules; the exception, and the start of its message, are PyTorch's.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradverify.engine

torch_real = pytest.importorskip("torch")

BOTH = pytest.mark.parametrize("torch", [gradverify.engine, torch_real], ids=["engine", "torch"])

Case = tuple[type[BaseException], str, Callable[[Any], Any]]


def rows(torch: Any, *shape: int) -> Any:
    return torch.tensor(np.linspace(0.1, 0.9, int(np.prod(shape))).reshape(shape).astype(np.float32))


REFUSED: dict[str, Case] = {
    "bce of other shapes": (ValueError, r"Using a target size", lambda t: t.nn.BCELoss()(rows(t, 4), rows(t, 4, 1))),
    "bce of what would broadcast": (ValueError, "Using", lambda t: t.nn.BCELoss()(rows(t, 3, 4), rows(t, 1, 4))),
    "logits of other shapes": (
        ValueError, "Target size", lambda t: t.nn.functional.binary_cross_entropy_with_logits(rows(t, 4), rows(t, 4, 1)),
    ),
    "huber at 0": (RuntimeError, "huber_loss does not", lambda t: t.nn.HuberLoss(delta=0.0)(rows(t, 2), rows(t, 2))),
    "smooth l1 below 0": (RuntimeError, "smooth_l1", lambda t: t.nn.SmoothL1Loss(beta=-1.0)(rows(t, 2), rows(t, 2))),
    "cosine with a target of 2 dims": (
        RuntimeError, "0D or 1D",
        lambda t: t.nn.functional.cosine_embedding_loss(rows(t, 3, 2), rows(t, 3, 2), rows(t, 3, 1)),
    ),
    "cosine of vectors, many targets": (
        RuntimeError, "1D target", lambda t: t.nn.functional.cosine_embedding_loss(rows(t, 3), rows(t, 3), rows(t, 3)),
    ),
    "cosine of rows, one target": (
        RuntimeError, "0D target",
        lambda t: t.nn.functional.cosine_embedding_loss(rows(t, 3, 2), rows(t, 3, 2), t.tensor(1.0)),
    ),
    "variances that do not fit": (
        ValueError, "var is of", lambda t: t.nn.GaussianNLLLoss()(rows(t, 3, 5), rows(t, 3, 5), rows(t, 3, 3)),
    ),
    "unfold of too few": (RuntimeError, "Given input", lambda t: t.nn.Unfold((2, 3))(rows(t, 1, 2, 2, 2))),
    "fold of no whole patch": (RuntimeError, "Expected size", lambda t: t.nn.Fold((4, 5), (2, 3))(rows(t, 1, 5, 9))),
    "fold of other places": (RuntimeError, "Given output", lambda t: t.nn.Fold((4, 5), (2, 3))(rows(t, 1, 6, 10))),
    "pad a scalar": (RuntimeError, "Padding length", lambda t: t.nn.functional.pad(t.tensor(1.0), (1, 1))),
    "pad by three": (RuntimeError, "Padding length", lambda t: t.nn.functional.pad(rows(t, 2, 2), (1, 1, 1))),
    "shuffle 5 channels": (RuntimeError, "pixel_shuffle", lambda t: t.nn.PixelShuffle(2)(rows(t, 5, 2, 2))),
    "shuffle a matrix": (RuntimeError, "pixel_shuffle", lambda t: t.nn.PixelShuffle(1)(rows(t, 2, 2))),
    "unshuffle 3 rows": (RuntimeError, "pixel_unshuffle", lambda t: t.nn.PixelUnshuffle(2)(rows(t, 1, 3, 2))),
    "cell of other rows": (RuntimeError, "Input batch", lambda t: t.nn.RNNCell(2, 3)(rows(t, 4, 2), rows(t, 1, 3))),
    "cell of other columns": (
        RuntimeError, "hidden0|hidden", lambda t: t.nn.LSTMCell(2, 3)(rows(t, 4, 2), (rows(t, 4, 1), rows(t, 4, 3))),
    ),
    "cell of another input": (RuntimeError, "input has", lambda t: t.nn.GRUCell(2, 3)(rows(t, 4, 1))),
    "GRU of another state": (RuntimeError, "Expected hidden", lambda t: t.nn.GRU(2, 3)(rows(t, 5, 4, 2), rows(t, 1, 1, 3))),
    "LSTM of another state": (
        RuntimeError, r"Expected hidden\[1\]",
        lambda t: t.nn.LSTM(2, 3)(rows(t, 5, 4, 2), (rows(t, 1, 4, 3), rows(t, 1, 4, 1))),
    ),
    "RNN of no nonlinearity": (ValueError, "Unknown nonlinearity", lambda t: t.nn.RNN(2, 3, nonlinearity="elu")),
    "GRU with a projection": (ValueError, "proj_size argument", lambda t: t.nn.GRU(2, 3, proj_size=1)),
    "projection as wide": (ValueError, "proj_size has to", lambda t: t.nn.LSTM(2, 3, proj_size=3)),
    "layer of no activation": (
        RuntimeError, "activation should", lambda t: t.nn.TransformerEncoderLayer(4, 2, activation="elu"),
    ),
    "transformer of two batches": (
        RuntimeError, "the batch number",
        lambda t: t.nn.Transformer(4, 2, 1, 1, 8)(rows(t, 3, 2, 4), rows(t, 3, 1, 4)),
    ),
    "train of no bool": (ValueError, "training mode", lambda t: t.nn.Linear(1, 1).train("yes")),
    "to an integer dtype": (TypeError, "nn.Module.to only", lambda t: t.nn.Linear(1, 1).to(t.int64)),
    "to a list": (TypeError, r"to\(\) received", lambda t: t.nn.Linear(1, 1).to([])),
    "to a copy": (RuntimeError, r"\.to\(\) does not", lambda t: t.nn.Linear(1, 1).to("cpu", copy=True)),
    "a module with arguments": (TypeError, r".*unexpected keyword", lambda t: t.nn.Module(width=1)),
    "insert far away": (IndexError, "Index out", lambda t: t.nn.Sequential(t.nn.ReLU()).insert(-5, t.nn.ReLU())),
    "insert no module": (AssertionError, "module should", lambda t: t.nn.Sequential(t.nn.ReLU()).insert(0, [])),
    "a dict of triples": (ValueError, "ModuleDict update", lambda t: t.nn.ModuleDict().update([("a", 1, 2)])),
    "an array in a state": (
        RuntimeError, "Error", lambda t: t.nn.Linear(2, 2, bias=False).load_state_dict({"weight": np.ones((2, 2))}),
    ),
    "no power iteration": (
        ValueError, "Expected n_power",
        lambda t: t.nn.utils.spectral_norm(t.nn.Linear(2, 2), n_power_iterations=0),
    ),
    "weight_norm twice": (
        RuntimeError, "Cannot register two", lambda t: t.nn.utils.weight_norm(t.nn.utils.weight_norm(t.nn.Linear(2, 2))),
    ),
    "no weight_norm": (ValueError, "weight_norm of", lambda t: t.nn.utils.remove_weight_norm(t.nn.Linear(2, 2))),
    "SWALR of another way": (
        ValueError, "anneal_strategy",
        lambda t: t.optim.swa_utils.SWALR(t.optim.SGD([t.nn.Parameter(rows(t, 1))], 0.1), 0.2, anneal_strategy="exp"),
    ),
    "not close": (AssertionError, "Tensor-likes are", lambda t: t.testing.assert_close(rows(t, 3), rows(t, 3) * 1.001)),
    "of another dtype": (AssertionError, "The values", lambda t: t.testing.assert_close(rows(t, 3), rows(t, 3).double())),
}  # fmt: skip


@BOTH
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str, torch: Any) -> None:
    kind, message, run = REFUSED[name]
    with pytest.raises(kind) as caught:
        run(torch)
    assert re.match(message, str(caught.value))


@BOTH
def test_weights_of_a_loss_come_first(torch: Any) -> None:
    x, goal, w = rows(torch, 2, 3), rows(torch, 2, 3), rows(torch, 3)
    for loss in (torch.nn.BCELoss, torch.nn.BCEWithLogitsLoss):
        each = loss(reduction="none")(x, goal)
        assert np.allclose(loss(w, reduction="sum")(x, goal).item(), (each * w).sum().item(), rtol=1e-6)


@BOTH
def test_a_replaced_parameter_keeps_its_place(torch: Any) -> None:
    module = torch.nn.Module()
    module.a, module.b = torch.nn.Linear(1, 1), torch.nn.Linear(2, 2)
    module.a = torch.nn.Linear(3, 3)
    assert [m.in_features for m in module.children()] == [3, 2]
    module.b = None
    module.b = torch.nn.Linear(4, 4)
    assert [name for name, _ in module.named_children()] == ["a", "b"]
    del module.a
    module.a = torch.nn.Linear(5, 5)
    assert [name for name, _ in module.named_children()] == ["b", "a"]
    assert {"a", "b"} <= set(dir(module))


@BOTH
def test_what_is_written_to_parameters_in_apply_counts_as_a_write(torch: Any) -> None:
    module = torch.nn.Linear(2, 2)
    product = module.weight * module.weight
    module._apply(lambda x: x.add_(1.0))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()


@BOTH
def test_statistics_that_are_not_tracked_any_more_stay(torch: Any) -> None:
    norm = torch.nn.BatchNorm1d(2)
    norm.track_running_stats = False
    norm(rows(torch, 4, 2))
    assert norm.num_batches_tracked.item() == 0
    assert norm.running_mean.tolist() == [0.0, 0.0]


@BOTH
def test_nothing_in_as_many_chunks_as_asked_for(torch: Any) -> None:
    assert [tuple(x.shape) for x in torch.ones(2, 0).chunk(3, 1)] == [(2, 0)] * 3
    assert tuple(torch.nn.GRUCell(2, 0)(rows(torch, 4, 2)).shape) == (4, 0)
    assert len(torch.ones(2).chunk(3)) == 2


@BOTH
def test_a_result_is_pickled_as_a_leaf_and_not_copied(torch: Any) -> None:
    from copy import deepcopy

    y = rows(torch, 3).requires_grad_() * 2
    again = pickle.loads(pickle.dumps(y))
    assert again.is_leaf
    assert again.requires_grad
    assert again.tolist() == y.tolist()
    with pytest.raises(RuntimeError, match="deepcopy"):
        deepcopy(y)


@BOTH
def test_a_prefix_of_wrapped_modules(torch: Any) -> None:
    inner = torch.nn.Sequential(torch.nn.Linear(1, 1))
    outer = torch.nn.ModuleDict([("module", inner)])
    state = outer.state_dict()
    torch.nn.modules.utils.consume_prefix_in_state_dict_if_present(state, "module.")
    assert set(state) == {"0.weight", "0.bias"}
    inner.load_state_dict(state)


@BOTH
def test_a_mixin_behind_a_module(torch: Any) -> None:
    class Mixin:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.seen = args, kwargs

    class Plain(torch.nn.Module, Mixin):  # type: ignore[misc, name-defined]
        pass

    class Calling(torch.nn.Module, Mixin):  # type: ignore[misc, name-defined]
        call_super_init = True

    assert not hasattr(Plain(), "seen")
    assert Calling().seen == ((), {})


def spectral(torch: Any, layer: Any, x: Any) -> list[Any]:
    """Two forwards in training, one in evaluation: values, gradients and the vectors in the end."""
    out: list[Any] = []
    for training in (True, True, False):
        layer.train(training)
        for p in layer.parameters():
            p.grad = None
        y = layer(x)
        (y * y).sum().backward()
        out += [y.detach().numpy().copy(), layer.weight_orig.grad.numpy().copy()]
    return [*out, layer.weight_u.numpy(), layer.weight_v.numpy()]


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda t: t.nn.Linear(3, 4), (2, 3)),
        (lambda t: t.nn.Conv2d(2, 3, 2), (1, 2, 4, 4)),
        (lambda t: t.nn.ConvTranspose2d(2, 3, (2, 3)), (1, 2, 4, 4)),
    ],
)
def test_spectral_norm_is_pytorchs(make: Any, shape: tuple[int, ...]) -> None:
    torch_real.manual_seed(3)
    theirs = torch_real.nn.utils.spectral_norm(make(torch_real), n_power_iterations=2)
    mine = gradverify.engine.nn.utils.spectral_norm(make(gradverify.engine), n_power_iterations=2)
    mine.load_state_dict({k: gradverify.engine.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    pairs = zip(
        spectral(gradverify.engine, mine, rows(gradverify.engine, *shape)),
        spectral(torch_real, theirs, rows(torch_real, *shape)),
    )
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norm_is_pytorchs(dim: int | None) -> None:
    def both(torch: Any, start: Any) -> list[Any]:
        layer, x = torch.nn.Linear(3, 4).double(), rows(torch, 2, 3).double()
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(start))
            layer.bias.zero_()
        torch.nn.utils.weight_norm(layer, dim=dim)
        with torch.no_grad():
            layer.weight_g.mul_(2.0)
        (layer(x) ** 2).sum().backward()
        grads = [layer.weight_g.grad.numpy(), layer.weight_v.grad.numpy()]
        torch.nn.utils.remove_weight_norm(layer)
        assert sorted(name for name, _ in layer.named_parameters()) == ["bias", "weight"]
        return [*grads, layer.weight.detach().numpy(), layer(x).detach().numpy()]

    start = np.linspace(-1, 2, 12).reshape(4, 3)
    for a, b in zip(both(gradverify.engine, start), both(torch_real, start)):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("sizes", [(1, False), (2, True)])
def test_an_lstm_with_projection_is_pytorchs(sizes: tuple[int, bool]) -> None:
    layers, both_ways = sizes
    theirs = torch_real.nn.LSTM(3, 5, layers, bidirectional=both_ways, proj_size=2)
    mine = gradverify.engine.nn.LSTM(3, 5, layers, bidirectional=both_ways, proj_size=2)
    assert [n for n, _ in mine.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    assert repr(mine) == repr(theirs)
    mine.load_state_dict({k: gradverify.engine.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    outs = []
    for torch, layer in (gradverify.engine, mine), (torch_real, theirs):
        y, (h, c) = layer(rows(torch, 4, 2, 3))
        (y.sum() + (h * c.sum()).sum()).backward()
        outs.append([y, h, c, *(p.grad for p in layer.parameters())])
    for a, b in zip(*outs):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=2e-5, atol=1e-6)


@BOTH
@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("epochs", [0, 1, 4])
def test_swalr_after_another_schedule(torch: Any, strategy: str, epochs: int) -> None:
    """By hand: from the rate that the other schedule left, the share of swa_lr grows with the epochs."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(rows(torch, 1))], lr=1.0)
    other = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    swa = torch.optim.swa_utils.SWALR(optimizer, 0.1, epochs, strategy)
    start = optimizer.param_groups[0]["lr"]
    for _ in range(2):
        optimizer.step()
        other.step()
        start *= 0.5
    for k in range(1, 7):
        optimizer.step()
        swa.step()
        t = min(1.0, k / max(1, epochs))
        share = t if strategy == "linear" else (1 - np.cos(np.pi * t)) / 2
        assert np.isclose(optimizer.param_groups[0]["lr"], 0.1 * share + start * (1 - share))


@BOTH
def test_an_optimizer_whose_step_was_replaced(torch: Any) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(rows(torch, 1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    before = optimizer.step
    optimizer.step = lambda: before()
    optimizer.step()
    with pytest.warns(UserWarning, match="has been overridden"):
        schedule.step()


@BOTH
def test_close_enough(torch: Any) -> None:
    x = rows(torch, 3)
    torch.testing.assert_close(x, x * (1 + 1e-7))
    torch.testing.assert_close({"a": [x, 1.0]}, {"a": [x.clone(), 1.0]})
    torch.testing.assert_close(x, x + 0.5, rtol=0.0, atol=0.6)
    with pytest.raises(ValueError, match="oth"):
        torch.testing.assert_close(x, x, rtol=1.0)
    nan = torch.tensor([float("nan")])
    torch.testing.assert_close(nan, nan, equal_nan=True)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(nan, nan)


@BOTH
def test_norms_that_are_no_power_sums(torch: Any) -> None:
    x = torch.tensor([[1.0, 0.0, 3.0], [0.5, -0.25, 2.0]], requires_grad=True)
    assert torch.norm(x, 0, 1).tolist() == [2.0, 3.0]
    assert torch.norm(x, float("-inf"), 1).tolist() == [0.0, 0.25]
    assert torch.norm(x, float("-inf")).item() == 0.0
    torch.norm(x, float("-inf"), 1, keepdim=True).sum().backward()
    assert x.grad.tolist() == [[0.0, 0.0, 0.0], [0.0, -1.0, 0.0]]
    rows = torch.tensor([[0.0, 1.0], [0.0, 2.0], [3.0, 4.0]])
    assert torch.nn.functional.pdist(rows, 0).tolist() == [1.0, 2.0, 2.0]
