"""nn, optim and utils.data beside PyTorch's: the same steps from the same numbers, the same names, the same complaints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradverify.engine
from gradverify.engine.utils.data import DataLoader, Dataset, Subset, TensorDataset, random_split

torch_real = pytest.importorskip("torch")

BOTH = (gradverify.engine, torch_real)
EPS64 = float(np.finfo(np.float64).eps)

OPTIMISERS: dict[str, Callable[[Any, Any], Any]] = {
    "sgd": lambda o, p: o.SGD(p, lr=0.1),
    "momentum": lambda o, p: o.SGD(p, lr=0.1, momentum=0.9),
    "dampening": lambda o, p: o.SGD(p, lr=0.1, momentum=0.9, dampening=0.3),
    "nesterov": lambda o, p: o.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "maximize": lambda o, p: o.SGD(p, lr=0.01, maximize=True),
    "adagrad": lambda o, p: o.Adagrad(p, lr=0.1, lr_decay=0.1, weight_decay=0.01, initial_accumulator_value=0.1),
    "rmsprop": lambda o, p: o.RMSprop(p, lr=0.01),
    "rmsprop centred": lambda o, p: o.RMSprop(p, lr=0.01, momentum=0.5, centered=True, weight_decay=0.01),
    "adam": lambda o, p: o.Adam(p, lr=0.01),
    "adam amsgrad": lambda o, p: o.Adam(p, lr=0.01, amsgrad=True, weight_decay=0.01, betas=(0.8, 0.99)),
    "adamw": lambda o, p: o.AdamW(p, lr=0.01, weight_decay=0.1),
}


def descend(torch: Any, make: Callable[[Any, Any], Any], steps: int, halt: bool = False) -> list[np.ndarray]:
    """The weights of a small regression after some steps; with `halt`, saved and loaded again half-way."""
    rng = np.random.default_rng(0)
    w = torch.tensor(rng.standard_normal((3, 2)), requires_grad=True)
    b = torch.tensor(rng.standard_normal(2), requires_grad=True)
    unused = torch.ones(1, dtype=torch.float64, requires_grad=True)
    x, y = torch.tensor(rng.standard_normal((5, 3))), torch.tensor(rng.standard_normal((5, 2)))
    optimiser = make(torch.optim, [w, b, unused])
    for k in range(steps):
        if halt and k == steps // 2:
            state = optimiser.state_dict()
            optimiser = make(torch.optim, [w, b, unused])
            optimiser.load_state_dict(state)
        optimiser.zero_grad()
        torch.nn.functional.mse_loss(x @ w + b, y).backward()
        optimiser.step()
    assert unused.item() == 1.0
    return [w.detach().numpy(), b.detach().numpy()]


@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers_take_pytorchs_steps(name: str) -> None:
    """In double. A step rounds some ten times, each time by half an ulp of what is at most of the size of the weights, and
    the descent contracts earlier errors; 20 steps of 10 roundings leave 200 ulps."""
    steps = 20
    mine, theirs = (descend(t, OPTIMISERS[name], steps) for t in BOTH)
    for a, b in zip(mine, theirs):
        assert np.abs(a - b).max() <= 10 * steps * EPS64 * np.abs(b).max()


@pytest.mark.parametrize("name", ["momentum", "adam amsgrad", "rmsprop centred", "adagrad"])
def test_state_of_an_optimiser_survives_saving(name: str) -> None:
    make = OPTIMISERS[name]
    for a, b in zip(descend(gradverify.engine, make, 8), descend(gradverify.engine, make, 8, halt=True)):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("torch", BOTH, ids=["engine", "torch"])
def test_bad_optimisers_are_refused(torch: Any) -> None:
    p = torch.ones(1, requires_grad=True)
    for make, message in (
        (lambda: torch.optim.SGD([], lr=0.1), "empty parameter list"),
        (lambda: torch.optim.SGD([p], lr=-1.0), "Invalid learning rate: -1.0"),
        (lambda: torch.optim.Adam([p], betas=(1.0, 0.9)), "Invalid beta parameter at index 0"),
        (lambda: torch.optim.SGD([p], lr=0.1, nesterov=True), "Nesterov momentum requires"),
        (lambda: torch.optim.SGD([p * 2], lr=0.1), "can't optimize a non-leaf Tensor"),
        (lambda: torch.optim.SGD([{"params": p}, {"params": p}], lr=0.1), "more than one parameter group"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    with pytest.raises(TypeError, match="should be an iterable of Tensors"):
        torch.optim.SGD(p, lr=0.1)


def test_groups_have_options_of_their_own_and_schedules_change_them() -> None:
    rates = []
    for torch in BOTH:
        a, b = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
        optimiser = torch.optim.SGD([{"params": [a], "lr": 1.0}, {"params": [b]}], lr=0.5)
        schedule = torch.optim.lr_scheduler.StepLR(optimiser, step_size=2, gamma=0.1)
        seen = []
        for _ in range(5):
            (a * a + b * b).sum().backward()
            optimiser.step()
            optimiser.zero_grad()
            schedule.step()
            seen.append([g["lr"] for g in optimiser.param_groups])
        rates.append((seen, a.item(), b.item()))
    assert np.allclose(rates[0][0], rates[1][0], rtol=1e-12)
    assert rates[0][1:] == pytest.approx(rates[1][1:], rel=1e-6)


LAYERS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "linear": (lambda nn: nn.Linear(4, 3), (2, 4)),
    "linear over batches": (lambda nn: nn.Linear(4, 3, bias=False), (2, 5, 4)),
    "conv": (lambda nn: nn.Conv2d(2, 4, 3, stride=2, padding=1), (2, 2, 7, 6)),
    "conv groups": (lambda nn: nn.Conv2d(4, 4, (3, 2), dilation=2, groups=2, bias=False), (2, 4, 7, 6)),
    "conv same": (lambda nn: nn.Conv2d(2, 3, 3, padding="same"), (1, 2, 5, 5)),
    "batch norm": (lambda nn: nn.BatchNorm2d(3), (4, 3, 2, 2)),
    "batch norm 1d": (lambda nn: nn.BatchNorm1d(3, momentum=None), (4, 3)),
    "layer norm": (lambda nn: nn.LayerNorm((3, 4)), (2, 3, 4)),
    "max pool": (lambda nn: nn.MaxPool2d(3, 2, 1), (2, 2, 7, 7)),
    "avg pool": (lambda nn: nn.AvgPool2d(2), (2, 2, 6, 6)),
    "adaptive pool": (lambda nn: nn.AdaptiveAvgPool2d((3, 2)), (2, 2, 7, 5)),
    "adaptive pool to one": (lambda nn: nn.AdaptiveAvgPool2d(1), (2, 2, 7, 5)),
    "activations": (
        lambda nn: nn.Sequential(nn.ReLU(), nn.GELU(), nn.Tanh(), nn.LeakyReLU(0.2), nn.Softplus()),
        (3, 4),
    ),
    "more activations": (
        lambda nn: nn.Sequential(nn.SiLU(), nn.ELU(), nn.Sigmoid(), nn.Mish(), nn.Hardswish()),
        (3, 4),
    ),
    "softmax": (lambda nn: nn.Sequential(nn.Softmax(dim=1), nn.LogSoftmax(dim=-1)), (3, 4)),
    "flatten": (lambda nn: nn.Sequential(nn.Flatten(), nn.Identity(), nn.Dropout(0.0)), (3, 4, 2)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_pytorchs(name: str) -> None:
    """In double, forward, both gradients, buffers, text and state dict. Values differ by the order of their sums: of at most
    36 products here, each rounding by half an ulp of the largest partial sum, in three sums one upon another."""
    make, shape = LAYERS[name]
    seen = []
    for torch in BOTH:
        rng = np.random.default_rng(3)
        layer = make(torch.nn).double()
        with torch.no_grad():
            for p in layer.parameters():
                p.copy_(torch.tensor(rng.standard_normal(tuple(p.shape))))
        x = torch.tensor(rng.standard_normal(shape), requires_grad=True)
        outs = []
        for _ in range(2):
            out = layer(x)
            out.backward(torch.tensor(np.cos(np.arange(out.numel())).reshape(tuple(out.shape))))
            outs.append(out.detach().numpy())
        layer.eval()
        outs.append(layer(x).detach().numpy())
        grads = [x.grad.numpy(), *(p.grad.numpy() for p in layer.parameters())]
        state = layer.state_dict()
        seen.append((repr(layer), list(state), [*outs, *grads, *(np.asarray(v.numpy()) for v in state.values())]))
    assert seen[0][0] == seen[1][0]
    assert seen[0][1] == seen[1][1]
    for mine, theirs in zip(seen[0][2], seen[1][2], strict=True):
        assert mine.shape == theirs.shape
        assert np.abs(mine - theirs).max() <= 3 * 36 * EPS64 * max(np.abs(theirs).max(), 1)


LOSSES: dict[str, Callable[[Any], Any]] = {
    "cross entropy": lambda t: t.nn.CrossEntropyLoss(),
    "weighted": lambda t: t.nn.CrossEntropyLoss(weight=t.tensor([1.0, 2.0, 0.5], dtype=t.float64), ignore_index=1),
    "smoothed": lambda t: t.nn.CrossEntropyLoss(label_smoothing=0.1),
    "smoothed and weighted": lambda t: t.nn.CrossEntropyLoss(
        weight=t.tensor([1.0, 2.0, 0.5], dtype=t.float64), ignore_index=0, label_smoothing=0.2
    ),
    "none": lambda t: t.nn.CrossEntropyLoss(reduction="none"),
    "nll sum": lambda t: t.nn.NLLLoss(reduction="sum"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_classes_are_pytorchs(name: str) -> None:
    seen = []
    for torch in BOTH:
        x = torch.tensor(np.random.default_rng(0).standard_normal((5, 3)), requires_grad=True)
        loss = LOSSES[name](torch)(x, torch.tensor([0, 2, 1, 1, 0]))
        loss.sum().backward()
        seen.append((loss.detach().numpy(), x.grad.numpy(), type(loss.grad_fn).__name__))
    assert seen[0][2] == seen[1][2]
    for mine, theirs in zip(seen[0][:2], seen[1][:2]):
        assert np.abs(mine - theirs).max() <= 64 * EPS64 * np.abs(theirs).max()


def test_wrong_classes_are_refused_alike() -> None:
    for torch in BOTH:
        with pytest.raises(IndexError, match="Target 7 is out of bounds"):
            torch.nn.functional.cross_entropy(torch.ones(1, 3), torch.tensor([7]))


@pytest.mark.parametrize("torch", BOTH, ids=["engine", "torch"])
def test_modules(torch: Any) -> None:
    nn = torch.nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(2, 3)
            self.again = self.first
            self.scale = nn.Parameter(torch.ones(1))
            self.register_buffer("seen", torch.zeros(1))
            self.register_buffer("scratch", torch.zeros(1), persistent=False)
            self.parts = nn.ModuleList([nn.ReLU(), nn.Linear(3, 1)])
            self.plain = 5

        def forward(self, x: Any) -> Any:
            return self.parts[1](self.parts[0](self.first(x))) * self.scale

    net = Net()
    assert [n for n, _ in net.named_parameters()] == [
        "scale",
        "first.weight",
        "first.bias",
        "parts.1.weight",
        "parts.1.bias",
    ]
    assert "scratch" not in net.state_dict()
    assert list(net.state_dict())[:2] == ["scale", "seen"]
    assert [n for n, _ in net.named_children()] == ["first", "parts"]
    net.eval()
    assert not any(m.training for m in net.modules())
    calls = []
    handle = net.register_forward_hook(lambda m, args, out: calls.append(out.shape))
    net(torch.ones(4, 2)).sum().backward()
    handle.remove()
    net(torch.ones(4, 2))
    assert calls == [(4, 1)]
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    with pytest.raises(TypeError, match="cannot assign"):
        net.first = 3
    with pytest.raises(AttributeError, match="no attribute 'missing'"):
        _ = net.missing
    with pytest.raises(RuntimeError, match="size mismatch for scale"):
        net.load_state_dict(dict(net.state_dict()) | {"scale": torch.ones(2)})
    with pytest.raises(RuntimeError, match="Missing key"):
        net.load_state_dict({})
    result = net.load_state_dict({"scale": torch.tensor([7.0])}, strict=False)
    assert net.scale.item() == 7.0
    assert "first.weight" in result.missing_keys
    with pytest.raises(NotImplementedError, match="forward"):
        nn.Module()(1)


def test_an_embedding_row_gets_the_sum_of_its_uses() -> None:
    grads = []
    for torch in BOTH:
        table = torch.nn.Embedding(4, 2, padding_idx=0)
        with torch.no_grad():
            table.weight.copy_(torch.tensor(np.arange(8.0).reshape(4, 2)))
        (table(torch.tensor([[1, 1], [3, 0]])) * torch.tensor([1.0, 2.0])).sum().backward()
        grads.append(table.weight.grad.numpy())
    assert np.array_equal(*grads)


def test_dropout_keeps_the_mean_and_is_off_in_evaluation() -> None:
    torch = gradverify.engine
    torch.manual_seed(0)
    x = torch.ones(20_000, requires_grad=True)
    layer = torch.nn.Dropout(0.25)
    out = layer(x)
    kept = (out > 0).sum().item()
    # binomial(20000, 0.75): six standard deviations are 6 * sqrt(20000 * 0.75 * 0.25) = 368
    assert abs(kept - 15_000) < 368
    assert set(np.unique(out.detach().numpy())) == {np.float32(0), np.float32(1 / 0.75)}
    out.sum().backward()
    assert np.array_equal(x.grad.numpy(), out.detach().numpy())
    assert layer.eval()(x) is x


# ---- data -----------------------------------------------------------------------------------------------------------


def test_batches() -> None:
    torch = gradverify.engine
    data = TensorDataset(torch.arange(10.0), torch.arange(10) * 2)
    loader = DataLoader(data, batch_size=4)
    assert [b[0].tolist() for b in loader] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(loader) == 3
    assert len(DataLoader(data, batch_size=4, drop_last=True)) == 2
    assert [len(b[0]) for b in DataLoader(data, batch_size=4, drop_last=True)] == [4, 4]
    torch.manual_seed(1)
    first = [x for b in DataLoader(data, batch_size=3, shuffle=True) for x in b[1].tolist()]
    torch.manual_seed(1)
    second = [x for b in DataLoader(data, batch_size=3, shuffle=True) for x in b[1].tolist()]
    assert first == second != sorted(first)
    assert sorted(first) == list(range(0, 20, 2))
    shuffled = DataLoader(data, shuffle=True, generator=torch.Generator().manual_seed(0))
    assert [b[0].item() for b in shuffled] != [b[0].item() for b in shuffled], "every epoch has an order of its own"


def test_samplers() -> None:
    torch, utils = gradverify.engine, gradverify.engine.utils.data
    data = TensorDataset(torch.arange(10.0))
    assert list(utils.SequentialSampler(data)) == list(range(10))
    assert list(utils.BatchSampler(utils.SequentialSampler(data), 4, False)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert sorted(utils.RandomSampler(data)) == list(range(10))
    long = utils.RandomSampler(data, num_samples=25)
    assert (len(list(long)), len(long), set(long)) == (25, 25, set(range(10)))
    assert sorted(utils.SubsetRandomSampler([7, 3, 5])) == [3, 5, 7]
    weighted = list(utils.WeightedRandomSampler([0.0, 1.0, 3.0], 400))
    assert weighted.count(0) == 0 < weighted.count(1) < weighted.count(2)
    assert sorted(utils.WeightedRandomSampler([1.0, 2.0], 2, replacement=False)) == [0, 1]
    for bad in (lambda: utils.RandomSampler(data, num_samples=0), lambda: utils.WeightedRandomSampler([1.0], 0)):
        with pytest.raises(ValueError, match="num_samples should be a positive integer"):
            bad()
    # A sampler of 10^10 draws is taken draw by draw.
    endless = utils.RandomSampler(data, replacement=True, num_samples=10**10)
    loader = utils.dataloader.DataLoader(data, batch_size=3, sampler=endless)
    assert next(iter(loader))[0].shape == (3,)
    assert len(loader) == -(-(10**10) // 3)

    class Lines(utils.IterableDataset):
        def __iter__(self) -> Any:
            return iter(range(7))

    assert [b.tolist() for b in DataLoader(Lines(), batch_size=3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [b.tolist() for b in DataLoader(Lines(), batch_size=3, drop_last=True)] == [[0, 1, 2], [3, 4, 5]]
    assert list(DataLoader(Lines(), batch_size=None)) == list(range(7))


def test_datasets() -> None:
    torch = gradverify.engine

    class Squares(Dataset):
        def __len__(self) -> int:
            return 5

        def __getitem__(self, k: int) -> Any:
            return {"x": torch.tensor(float(k)), "y": k * k, "z": 0.5, "name": str(k)}

    (batch,) = DataLoader(Squares(), batch_size=5)
    assert batch["y"].tolist() == [0, 1, 4, 9, 16]
    assert batch["y"].dtype is torch.int64
    assert batch["z"].dtype is torch.float64
    assert batch["name"] == ["0", "1", "2", "3", "4"]
    both = Squares() + Subset(Squares(), [4, 3])
    assert len(both) == 7
    assert both[6]["y"] == 9
    parts = random_split(Squares(), [0.6, 0.4], generator=torch.Generator().manual_seed(0))
    assert [len(p) for p in parts] == [3, 2]
    assert sorted(p["y"] for part in parts for p in (part[k] for k in range(len(part)))) == [0, 1, 4, 9, 16]
    with pytest.raises(ValueError, match="Sum of input lengths"):
        random_split(Squares(), [1, 1])
    with pytest.raises(AssertionError, match="Size mismatch"):
        TensorDataset(torch.ones(2), torch.ones(3))
    with pytest.raises(ValueError, match="positive integer"):
        DataLoader(Squares(), batch_size=0)
    with pytest.raises(TypeError, match="must contain tensors"):
        next(iter(DataLoader([object()])))
