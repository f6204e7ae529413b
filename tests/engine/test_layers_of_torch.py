"""Each layer beside PyTorch's, with the same weights: its text, names, result and gradients; and composed functions.

The shapes and values are this project's own.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradverify.engine

torch_real = pytest.importorskip("torch")

Layer = tuple[Callable[[Any], Any], list[tuple[int, ...]]]  # how it is made of `nn`, and the shapes of its inputs

LAYERS: dict[str, Layer] = {
    "Conv1d": (lambda nn: nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), [(2, 4, 7)]),
    "Conv1d same": (lambda nn: nn.Conv1d(2, 3, 4, padding="same", bias=False), [(2, 2, 7)]),
    "Conv1d unbatched": (lambda nn: nn.Conv1d(2, 3, 3, dilation=2), [(2, 7)]),
    "Conv3d": (lambda nn: nn.Conv3d(2, 3, 2, stride=(1, 2, 1), padding=(1, 0, 1)), [(2, 2, 3, 4, 3)]),
    "ConvTranspose1d": (lambda nn: nn.ConvTranspose1d(4, 6, 3, 2, 1, 1, groups=2), [(2, 4, 5)]),
    "ConvTranspose2d": (lambda nn: nn.ConvTranspose2d(4, 6, (3, 2), 2, 1, (1, 0), 2), [(2, 4, 3, 4)]),
    "ConvTranspose2d cut": (lambda nn: nn.ConvTranspose2d(2, 3, 2, padding=1, dilation=1), [(2, 2, 4, 4)]),
    "ConvTranspose2d dilated": (lambda nn: nn.ConvTranspose2d(2, 3, 2, stride=3, dilation=2), [(2, 3, 3)]),
    "MaxPool1d": (lambda nn: nn.MaxPool1d(3, 2, padding=1), [(2, 2, 7)]),
    "MaxPool2d ceil": (lambda nn: nn.MaxPool2d(3, 2, padding=1, ceil_mode=True), [(2, 2, 6, 5)]),
    "MaxPool2d indices": (lambda nn: nn.MaxPool2d(2, return_indices=True), [(2, 2, 5, 4)]),
    "MaxPool2d dilated ceil": (lambda nn: nn.MaxPool2d(2, 3, dilation=2, ceil_mode=True, return_indices=True), [(2, 6, 7)]),
    "AvgPool1d": (lambda nn: nn.AvgPool1d(3, 2, padding=1), [(2, 2, 7)]),
    "AdaptiveAvgPool1d": (lambda nn: nn.AdaptiveAvgPool1d(3), [(2, 2, 7)]),
    "AdaptiveMaxPool2d": (lambda nn: nn.AdaptiveMaxPool2d((2, 3)), [(2, 2, 5, 4)]),
    "LPPool1d": (lambda nn: nn.LPPool1d(2, 2), [(2, 2, 6)]),
    "LPPool2d": (lambda nn: nn.LPPool2d(2, 2), [(2, 2, 4, 4)]),
    "Unfold": (lambda nn: nn.Unfold((2, 3), 1, 1, 2), [(2, 2, 5, 6)]),
    "Fold": (lambda nn: nn.Fold((5, 6), (2, 3), 1, 1, 2), [(2, 12, 9)]),
    "PixelShuffle": (lambda nn: nn.PixelShuffle(2), [(2, 8, 2, 3)]),
    "PixelUnshuffle": (lambda nn: nn.PixelUnshuffle(2), [(2, 2, 4, 6)]),
    "Upsample nearest": (lambda nn: nn.Upsample(scale_factor=2.5), [(2, 2, 3, 4)]),
    "Upsample bilinear": (lambda nn: nn.Upsample(size=(5, 7), mode="bilinear"), [(2, 2, 3, 4)]),
    "Upsample aligned": (lambda nn: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), [(2, 2, 3, 4)]),
    "Upsample linear": (lambda nn: nn.Upsample(scale_factor=1.7, mode="linear"), [(2, 2, 5)]),
    "Upsample smaller": (lambda nn: nn.Upsample(size=2, mode="bilinear"), [(2, 2, 5, 4)]),
    "BatchNorm3d": (lambda nn: nn.BatchNorm3d(2), [(2, 2, 2, 3, 2)]),
    "GroupNorm": (lambda nn: nn.GroupNorm(2, 4), [(2, 4, 3)]),
    "GroupNorm plain": (lambda nn: nn.GroupNorm(3, 6, affine=False), [(2, 6, 2, 2)]),
    "InstanceNorm1d": (lambda nn: nn.InstanceNorm1d(2, affine=True), [(2, 2, 5)]),
    "InstanceNorm2d": (lambda nn: nn.InstanceNorm2d(2, track_running_stats=True), [(2, 2, 3, 4)]),
    "InstanceNorm2d eval": (
        lambda nn: nn.InstanceNorm2d(2, affine=True, track_running_stats=True).eval(), [(2, 2, 3, 4)],
    ),
    "InstanceNorm3d": (lambda nn: nn.InstanceNorm3d(2), [(2, 2, 2, 2, 3)]),
    "RMSNorm": (lambda nn: nn.RMSNorm((3, 4)), [(2, 3, 4)]),
    "RMSNorm eps": (lambda nn: nn.RMSNorm(4, eps=1e-3, elementwise_affine=False), [(2, 3, 4)]),
    "LocalResponseNorm": (lambda nn: nn.LocalResponseNorm(3, 0.5), [(2, 5, 3)]),
    "LayerNorm no bias": (lambda nn: nn.LayerNorm(4, bias=False), [(2, 3, 4)]),
    "PReLU": (lambda nn: nn.PReLU(), [(2, 3)]),
    "PReLU channels": (lambda nn: nn.PReLU(3), [(2, 3, 4)]),
    "RReLU eval": (lambda nn: nn.RReLU().eval(), [(2, 3)]),
    "Threshold": (lambda nn: nn.Threshold(0.1, 20), [(2, 3)]),
    "Softmin": (lambda nn: nn.Softmin(1), [(2, 3)]),
    "Softshrink": (lambda nn: nn.Softshrink(0.3), [(2, 3)]),
    "Hardshrink": (lambda nn: nn.Hardshrink(0.3), [(2, 3)]),
    "Tanhshrink": (lambda nn: nn.Tanhshrink(), [(2, 3)]),
    "GLU": (lambda nn: nn.GLU(), [(2, 4)]),
    "Softmax2d": (lambda nn: nn.Softmax2d(), [(2, 3, 2, 2)]),
    "Bilinear": (lambda nn: nn.Bilinear(3, 4, 5), [(2, 3), (2, 4)]),
    "CosineSimilarity": (lambda nn: nn.CosineSimilarity(), [(2, 3), (2, 3)]),
    "PairwiseDistance": (lambda nn: nn.PairwiseDistance(p=1.5), [(2, 3), (2, 3)]),
    "Unflatten": (lambda nn: nn.Unflatten(1, (2, 3)), [(2, 6)]),
    "ZeroPad2d": (lambda nn: nn.ZeroPad2d((1, 2, 0, -1)), [(2, 2, 3, 3)]),
    "ConstantPad1d": (lambda nn: nn.ConstantPad1d(2, 3.5), [(2, 2, 3)]),
    "ReflectionPad2d": (lambda nn: nn.ReflectionPad2d((1, 2, 2, 0)), [(2, 2, 3, 4)]),
    "ReplicationPad1d": (lambda nn: nn.ReplicationPad1d((3, 1)), [(2, 2, 3)]),
    "CircularPad2d": (lambda nn: nn.CircularPad2d(1), [(2, 2, 3, 3)]),
    "Dropout2d eval": (lambda nn: nn.Dropout2d().eval(), [(2, 3, 2, 2)]),
    "AlphaDropout eval": (lambda nn: nn.AlphaDropout().eval(), [(2, 3)]),
    "RNNCell": (lambda nn: nn.RNNCell(3, 4, nonlinearity="relu"), [(2, 3), (2, 4)]),
    "LSTMCell": (lambda nn: nn.LSTMCell(3, 4), [(2, 3)]),
    "GRUCell": (lambda nn: nn.GRUCell(3, 4, bias=False), [(2, 3), (2, 4)]),
    "GRUCell unbatched": (lambda nn: nn.GRUCell(3, 4), [(3,)]),
    "RNN": (lambda nn: nn.RNN(3, 4, 2), [(5, 2, 3)]),
    "LSTM": (lambda nn: nn.LSTM(3, 4, num_layers=2, batch_first=True, bidirectional=True), [(2, 5, 3)]),
    "LSTM unbatched": (lambda nn: nn.LSTM(3, 4), [(5, 3)]),
    "GRU": (lambda nn: nn.GRU(3, 4, bias=False, bidirectional=True), [(5, 2, 3), (2, 2, 4)]),
    "MultiheadAttention": (lambda nn: nn.MultiheadAttention(6, 2), [(3, 2, 6), (4, 2, 6), (4, 2, 6)]),
    "MultiheadAttention other": (
        lambda nn: nn.MultiheadAttention(6, 3, bias=False, kdim=5, vdim=4, batch_first=True),
        [(2, 3, 6), (2, 4, 5), (2, 4, 4)],
    ),
    "MultiheadAttention unbatched": (lambda nn: nn.MultiheadAttention(6, 2), [(3, 6), (4, 6), (4, 6)]),
    "TransformerEncoderLayer": (lambda nn: nn.TransformerEncoderLayer(4, 2, 6, 0.0), [(3, 2, 4)]),
    "TransformerEncoder": (
        lambda nn: nn.TransformerEncoder(
            nn.TransformerEncoderLayer(4, 2, 6, 0.0, "gelu", batch_first=True, norm_first=True), 2, nn.LayerNorm(4)
        ),
        [(2, 3, 4)],
    ),
    "TransformerDecoderLayer": (lambda nn: nn.TransformerDecoderLayer(4, 2, 6, 0.0), [(3, 2, 4), (5, 2, 4)]),
    "Transformer": (lambda nn: nn.Transformer(4, 2, 1, 2, 6, 0.0), [(3, 2, 4), (5, 2, 4)]),
    "MarginRankingLoss": (lambda nn: nn.MarginRankingLoss(0.3), [(4,), (4,), (4,)]),
    "TripletMarginLoss": (lambda nn: nn.TripletMarginLoss(swap=True, reduction="sum"), [(2, 3), (2, 3), (2, 3)]),
    "PoissonNLLLoss": (lambda nn: nn.PoissonNLLLoss(), [(4,), (4,)]),
    "ParameterList": (lambda nn: nn.ParameterList([torch_ones(nn, 2), torch_ones(nn, 3)]), []),
}  # fmt: skip


def torch_ones(nn: Any, n: int) -> Any:
    return nn.Parameter((gradverify.engine if nn is gradverify.engine.nn else torch_real).ones(n))


def numbers(x: Any) -> Any:
    return x.detach().numpy()


def flat(out: Any) -> list[Any]:
    return [y for part in out for y in flat(part)] if isinstance(out, tuple) else [] if out is None else [out]


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_pytorchs(name: str) -> None:
    make, shapes = LAYERS[name]
    theirs, mine = make(torch_real.nn).double(), make(gradverify.engine.nn).double()
    assert repr(mine).split("\n  ")[0] == repr(theirs).split("\n  ")[0]
    state = {k: numbers(v).copy() for k, v in theirs.state_dict().items()}
    assert list(mine.state_dict()) == list(state)
    rng = np.random.default_rng(0)
    state = {k: rng.uniform(-1, 1, v.shape) if v.dtype.kind == "f" and "var" not in k else v for k, v in state.items()}
    points = [rng.uniform(-1, 1, s) for s in shapes]
    seen = []
    for torch, layer in (torch_real, theirs), (gradverify.engine, mine):
        layer.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in state.items()})
        inputs = [torch.tensor(p.tolist(), dtype=torch.float64, requires_grad=True) for p in points]
        outs = flat(layer(*inputs)) if shapes else []
        total = sum(
            ((y * torch.arange(1.0, y.numel() + 1).reshape(y.shape)).sum() for y in outs if y.requires_grad),
            torch.zeros(()),
        )
        if shapes:
            total.backward()
        grads = [numbers(p.grad) if p.grad is not None else None for p in [*inputs, *layer.parameters()]]
        seen.append(([numbers(y) for y in outs], grads, {k: numbers(v) for k, v in layer.state_dict().items()}))
    (a, ga, sa), (b, gb, sb) = seen
    assert [y.shape for y in a] == [y.shape for y in b]
    assert all(np.allclose(x, y, rtol=1e-9, atol=1e-11) for x, y in zip(a, b)), (a, b)
    for x, y in zip(ga, gb):
        assert (x is None) == (y is None)
        assert x is None or np.allclose(x, y, rtol=1e-9, atol=1e-10)
    assert all(np.allclose(sa[k], sb[k]) for k in sa)


def nan_free(x: np.ndarray) -> np.ndarray:
    out = x.copy()
    out[0, 1], out[1, 2], out[2, 2] = np.nan, np.inf, -np.inf
    return out


RNG = np.random.default_rng(1)
A, V, S, B = (RNG.uniform(-2, 2, s) for s in ((3, 4), (4,), (3, 3), (2, 3, 4)))

FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "kron": (lambda t, a, b: t.kron(a, b), A, S),
    "kron of ranks": (lambda t, a, b: t.kron(a, b), V, B),
    "diagflat": (lambda t, a: a.diagflat(1), V),
    "diagflat below": (lambda t, a: t.diagflat(a, -2), A),
    "diag": (lambda t, a: t.diag(a, diagonal=1), A),
    "diag of a vector": (lambda t, a: t.diag(a, -1), V),
    "clamp_min": (lambda t, a: a.clamp_min(0.1) + a.clamp_max(0.4), A),
    "nan_to_num": (lambda t, a: a.nan_to_num(1.0, 2.0, 3.0), nan_free(A)),
    "nan_to_num of range": (lambda t, a: t.nan_to_num(a), nan_free(A)),
    "fmod": (lambda t, a, b: t.fmod(a, b), A, V),
    "frac": (lambda t, a: a.frac(), A),
    "copysign": (lambda t, a, b: t.copysign(a, b.detach()), A, V),
    "nansum": (lambda t, a: t.nansum(a, 1), np.where(np.isinf(nan_free(A)), 1.0, nan_free(A))),
    "dist": (lambda t, a, b: t.dist(a, b), A, V),
    "cdist": (lambda t, a, b: t.cdist(a, b), A, B[0] + 1),
    "cdist of batches": (lambda t, a, b: t.cdist(a, b, p=1.0), B, B[:, :2] + 0.3),
    "diff": (lambda t, a: t.diff(a, 2, 1), A),
    "trapezoid": (lambda t, a: t.trapz(a, dx=0.5), A),
    "trapezoid over x": (lambda t, a, b: t.trapezoid(a, b), A, np.cumsum(V**2)),
    "cov": (lambda t, a: t.cov(a), A),
    "quantile": (lambda t, a: t.quantile(a, t.tensor([0.25, 0.6], dtype=t.float64), 1), A),
    "quantile of all": (lambda t, a: a.quantile(0.3), A),
    "quantile kept": (lambda t, a: a.quantile(0.3, 0, True), A),
    "addmv": (lambda t, a, b, c: t.addmv(a, b, c, beta=2), V[:3], A, V),
    "baddbmm": (lambda t, a, b: t.baddbmm(a, b, b.transpose(1, 2), alpha=0.5), B[:, :, :3], B),
    "inner": (lambda t, a, b: t.inner(a, b), B, A),
    "logdet": (lambda t, a: t.logdet(a @ a.T), S),
    "slogdet": (lambda t, a: t.slogdet(a)[1], S),
    "block_diag": (lambda t, a, b: t.block_diag(a, b), A, S),
    "ravel": (lambda t, a: a.t().ravel(), A),
    "fliplr": (lambda t, a: a.fliplr() + a.flipud(), A),
    "rot90": (lambda t, a: t.rot90(a, 3), A),
    "rot90 of dims": (lambda t, a: t.rot90(a, 1, (1, 2)), B),
    "dstack": (lambda t, a: t.dstack([a, a]), A),
    "column_stack": (lambda t, a, b: t.column_stack([a, b]), V[:3], A),
    "split_with_sizes": (lambda t, a: a.split_with_sizes([1, 3], 1)[1], A),
    "tensor_split": (lambda t, a: t.tensor_split(a, 3, 1)[0], A),
    "tensor_split at": (lambda t, a: a.tensor_split((1, 3), 1)[1], A),
    "unfold": (lambda t, a: a.unfold(1, 2, 1), A),
    "unfold of the middle": (lambda t, a: a.unfold(-2, 2, 2), B),
    "index_fill": (lambda t, a: a.index_fill(1, t.tensor([0, 2]), 5.0), A),
    "index_copy": (lambda t, a, b: a.index_copy(1, t.tensor([1, 0]), b), A, A[:, :2]),
    "scatter": (lambda t, a, b: a.scatter(1, t.tensor([[0, 1], [2, 3], [1, 0]]), b), A, A[:, :2] + 3),
    "scatter a number": (lambda t, a: a.scatter(0, t.tensor([[2, 1, 0, 0]]), 7.0), A),
    "masked_scatter": (lambda t, a, b: a.masked_scatter(a.detach() > 0, b), A, A * 2),
    "take": (lambda t, a: a.take(t.tensor([[0, 5], [5, 2]])), A),
    "atleast_3d": (lambda t, a: t.atleast_3d(a), A),
    "softmax": (lambda t, a: a.softmax(-1) + a.log_softmax(0), A),
    "deg2rad": (lambda t, a: t.deg2rad(a) + t.rad2deg(a), A),
    "index_fill_": (lambda t, a: (a * 1).index_fill_(0, t.tensor([1]), 2.0), A),
    "pad": (lambda t, a: t.nn.functional.pad(a, (1, -1, 2, 0), value=1.5), A),
    "gather 0-d": (lambda t, a: a[0].gather(0, t.tensor(1)).reshape(1), A),
    "pdist": (lambda t, a: t.nn.functional.pdist(a), A),
    "attention with a mask": (
        lambda t, a: t.nn.functional.scaled_dot_product_attention(a, a, a, t.tensor([[True, False, True]] * 3)),
        B,
    ),
    "attention, causal": (
        lambda t, a: t.nn.functional.scaled_dot_product_attention(a, a + 1, a, is_causal=True, scale=0.7),
        B,
    ),
    "multi_margin_loss": (
        lambda t, a: t.nn.functional.multi_margin_loss(a, t.tensor([0, 3, 1]), p=2, margin=0.7).reshape(1),
        A,
    ),
    "hinge_embedding_loss": (
        lambda t, a: t.nn.functional.hinge_embedding_loss(a, t.tensor([[1, -1, 1, -1]] * 3), reduction="none"),
        A,
    ),
    "cosine_embedding_loss": (
        lambda t, a, b: t.nn.functional.cosine_embedding_loss(a, b, t.tensor([1, -1, 1]), 0.1, reduction="none"),
        A,
        A + 1,
    ),
    "gaussian_nll_loss": (
        lambda t, a, b: t.nn.functional.gaussian_nll_loss(a, b, a.exp(), full=True, reduction="none"),
        A,
        A + 1,
    ),
    "multilabel_soft_margin_loss": (
        lambda t, a: t.nn.functional.multilabel_soft_margin_loss(a, (a.detach() > 0).double(), reduction="none"),
        A,
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_composed_function_is_pytorchs(name: str) -> None:
    f, *points = FUNCTIONS[name]
    seen = []
    for torch in (torch_real, gradverify.engine):
        inputs = [torch.tensor(p.tolist(), dtype=torch.float64, requires_grad=True) for p in points]
        y = f(torch, *inputs)
        weights = torch.arange(1.0, y.numel() + 1, dtype=torch.float64).reshape(y.shape)
        grads = torch.autograd.grad((y * weights).sum(), inputs, allow_unused=True, materialize_grads=True)
        seen.append([numbers(y), *map(numbers, grads)])
    for a, b in zip(*seen):
        assert a.shape == b.shape
        assert np.allclose(a, b, rtol=1e-9, atol=1e-11, equal_nan=True), (a, b)


def test_what_is_drawn_at_random() -> None:
    """Mean and spread of what the in-place draws fill in: five standard errors."""
    torch = gradverify.engine
    torch.manual_seed(0)
    n = 20_000
    for x, mean, std in (
        (torch.empty(n).uniform_(1, 3), 2, 2 / 12**0.5), (torch.empty(n).normal_(1, 2), 1, 2),
        (torch.empty(n).exponential_(2), 0.5, 0.5), (torch.empty(n).bernoulli_(0.3), 0.3, 0.21**0.5),
        (torch.empty(n).random_(0, 10), 4.5, (99 / 12) ** 0.5),
        (torch.multinomial(torch.tensor([1.0, 3.0]), n, True).float(), 0.75, (3 / 16) ** 0.5),
        (torch.nn.functional.alpha_dropout(torch.randn(n), 0.4, True), 0, 1),
    ):  # fmt: skip
        data = numbers(x)
        assert abs(data.mean() - mean) < 5 * std / n**0.5
        assert abs(data.std() - std) < 0.05 * std
    x = torch.nn.functional.dropout2d(torch.ones(50, 20, 3, 3), 0.5)
    per_channel = numbers(x).reshape(50, 20, 9)
    assert set(np.unique(per_channel)) == {0.0, 2.0}
    assert (per_channel.std(-1) == 0).all()
    x = torch.ones(3, requires_grad=True)
    y = x * 1
    y.uniform_()
    y.sum().backward()
    assert x.grad.tolist() == [0, 0, 0]


def test_a_class_of_layers_is_found_by_pickle() -> None:
    """Many are made by a function: each names the module where it is found."""
    nn = gradverify.engine.nn
    classes = [c for c in vars(nn).values() if isinstance(c, type) and issubclass(c, nn.Module)]
    assert len(classes) > 100
    for cls in classes:
        assert pickle.loads(pickle.dumps(cls)) is cls
