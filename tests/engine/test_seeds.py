"""The scripts under examples/seeds: each prints under the engine what it prints under PyTorch, or fails alike."""

from __future__ import annotations

import io
import re
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradverify.engine
import gradverify.engine.models
from gradverify.engine import nn, optim
from gradverify.engine.serialization import load, save_safetensors

torch_real = pytest.importorskip("torch")

SEEDS = Path(__file__).parent.parent.parent / "examples" / "seeds"
EPS = float(np.finfo(np.float32).eps)


def source_for_torch(text: str) -> str:
    return (
        text.replace("import gradverify.engine as torch", "import torch")
        .replace("from gradverify.engine import nn", "from torch import nn")
        .replace("from . import nn", "from torch import nn")
    )


def output(text: str, **names: Any) -> tuple[str, str, dict[str, Any]]:
    """What the script prints, what it raises, and its names afterwards; addresses are blotted out."""
    out, scope, error = io.StringIO(), {"__name__": "__main__", **names}, ""
    with redirect_stdout(out), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            exec(compile(text, "seed", "exec"), scope)
        except Exception as e:
            error = f"{type(e).__name__}: {str(e).split('. ')[0]}"
    return re.sub(r"0x[0-9a-f]+", "0x", out.getvalue()), error, scope


@pytest.mark.parametrize(
    "path", [*sorted(SEEDS.glob("info/*.py")), SEEDS / "q_3a3_b2.py", SEEDS / "variable.py"], ids=lambda p: p.stem
)
def test_prints_what_pytorch_prints(path: Path) -> None:
    text = path.read_text()
    mine, theirs = output(text), output(source_for_torch(text))
    assert mine[:2] == theirs[:2]
    assert mine[0]


FAILING = {"code_04": "second time", "code_10": "does not require grad", "code_12": "does not require grad"}


@pytest.mark.parametrize("name", FAILING)
def test_three_blocks_fail_on_purpose(name: str) -> None:
    assert FAILING[name] in output((SEEDS / "info" / f"{name}.py").read_text())[1]


def test_there_are_thirteen_blocks() -> None:
    assert len(list(SEEDS.glob("info/code_*.py"))) == 13


def test_mlp_ends_at_pytorchs_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the same numbers. Each of 500 steps rounds a weight once (half an ulp), and its gradient, a sum of at most
    1000 products, by far less than the step itself; so the weights differ by at most 500 ulps of the largest."""
    text = (SEEDS / "mlp.py").read_text()
    ends = []
    for torch, script in ((gradverify.engine, text), (torch_real, source_for_torch(text))):
        rng = np.random.default_rng(0)

        def randn(*size: int, requires_grad: bool = False, torch: Any = torch, rng: Any = rng, **_: Any) -> Any:
            return torch.tensor(rng.standard_normal(size).astype(np.float32), requires_grad=requires_grad)

        monkeypatch.setattr(torch, "randn", randn)
        printed, error, scope = output(script)
        assert not error
        losses = [float(x) for x in re.findall(r"Loss:\s+(\S+)", printed)]
        assert len(losses) == 5
        assert losses == sorted(losses, reverse=True)
        ends.append([scope[w].detach().numpy() for w in ("w1", "w2")])
    for mine, theirs in zip(*ends):
        assert np.abs(mine - theirs).max() <= 500 * EPS * np.abs(theirs).max()


def test_the_seeds_own_slip_fails_alike() -> None:
    """`nn.ReLU(x)` is a module, and has no `mm`."""
    for torch in (gradverify.engine, torch_real):
        hidden = torch.nn.ReLU(torch.ones(2, 2))
        with pytest.raises(AttributeError, match="'ReLU' object has no attribute 'mm'"):
            hidden.mm(torch.ones(2, 2))


# ---- ResNet-18 ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def twins() -> tuple[Any, Any]:
    """The network here, and the same source over torch.nn, with the same weights."""
    mine = gradverify.engine.models.resnet18()
    rng = np.random.default_rng(1)
    state = {}
    for name, tensor in mine.state_dict().items():
        shape = tuple(tensor.shape)
        if name.endswith("num_batches_tracked"):
            state[name] = np.array(0)
        elif "running_var" in name or (name.endswith("weight") and len(shape) == 1):
            state[name] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        elif len(shape) > 1:
            state[name] = (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
        else:
            state[name] = (0.1 * rng.standard_normal(shape)).astype(np.float32)
    mine.load_state_dict({k: gradverify.engine.tensor(v) for k, v in state.items()})
    text = source_for_torch(Path(gradverify.engine.models.__file__).read_text())
    scope = output(text.replace("from __future__ import annotations", ""))[2]
    theirs = scope["resnet18"]()
    theirs.load_state_dict({k: torch_real.tensor(v) for k, v in state.items()})
    return mine, theirs


def loss_and_gradients(torch: Any, model: Any, dtype: str) -> tuple[float, dict[str, np.ndarray]]:
    rng = np.random.default_rng(2)
    model = model.double() if dtype == "float64" else model.float()
    model.zero_grad()
    x = torch.tensor(rng.random((2, 3, 64, 64)).astype(dtype))
    target = torch.tensor(np.array([3, 700]))
    loss = torch.nn.functional.cross_entropy(model(x), target)
    loss.backward()
    return loss.item(), {n: p.grad.numpy().copy() for n, p in model.named_parameters()}


def test_resnet18_has_pytorchs_loss_and_gradients(twins: tuple[Any, Any]) -> None:
    """The budget is PyTorch's own: how far its float32 gradients lie from its float64 ones. The engine's float32 gradients
    must lie no further than four times that from the float64 truth (two correct orders of summation differ by chance, not in
    size), and in float64 the two must agree within the same budget, scaled by the ratio of the dtypes' units."""
    mine, theirs = twins
    truth_loss, truth = loss_and_gradients(torch_real, theirs, "float64")
    single_loss, single = loss_and_gradients(torch_real, theirs, "float32")
    loss, grads = loss_and_gradients(gradverify.engine, mine, "float32")
    loss64, grads64 = loss_and_gradients(gradverify.engine, mine, "float64")
    assert list(grads) == list(truth)
    assert abs(loss - truth_loss) <= 4 * abs(single_loss - truth_loss) + 8 * EPS * abs(truth_loss)
    ratio = float(np.finfo(np.float64).eps) / EPS
    for name, want in truth.items():
        noise = np.linalg.norm(single[name] - want) + 8 * EPS * np.linalg.norm(want)
        assert np.linalg.norm(grads[name] - want) <= 4 * noise, name
        assert np.linalg.norm(grads64[name] - want) <= 4 * noise * ratio, name
    assert abs(loss64 - truth_loss) <= 64 * float(np.finfo(np.float64).eps) * abs(truth_loss)


def test_weights_come_from_torchvisions_files(twins: tuple[Any, Any], tmp_path: Path) -> None:
    mine, theirs = twins
    mine.float(), theirs.float()
    torch_real.save(theirs.state_dict(), tmp_path / "weights.pth")
    save_safetensors(mine.state_dict(), tmp_path / "weights.safetensors")
    for file, source in (("weights.pth", theirs), ("weights.safetensors", mine)):
        model = gradverify.engine.models.resnet18(weights=tmp_path / file)
        for (name, a), b in zip(model.state_dict().items(), source.state_dict().values(), strict=True):
            assert np.array_equal(a.numpy(), b.numpy()), name


def test_nothing_is_downloaded() -> None:
    models = gradverify.engine.models
    with pytest.raises(FileNotFoundError, match=r"resnet18-f37072fd\.pth"):
        models.resnet18(weights=models.ResNet18_Weights.DEFAULT)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> Any:
            return (exec, ("raise SystemExit",))

    torch_real.save({"x": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(pickle.UnpicklingError, match="nothing is run"):
        load(tmp_path / "evil.pth")
    (tmp_path / "junk.pth").write_bytes(b"junk")
    with pytest.raises(ValueError, match="neither a safetensors file"):
        load(tmp_path / "junk.pth")


def test_only_the_new_head_of_a_frozen_body_learns() -> None:
    torch = gradverify.engine
    torch.manual_seed(0)
    model = torch.models.resnet18()
    for p in model.parameters():
        p.requires_grad = False
    model.fc = nn.Linear(512, 2)
    classes = torch.arange(8) % 2
    images = 0.2 * torch.rand(8, 3, 32, 32)
    for k in range(8):
        images[k, int(classes[k])] += 0.8
    before = {n: p.detach().numpy().copy() for n, p in model.named_parameters()}
    optimizer = optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), classes)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    for name, p in model.named_parameters():
        assert (p.grad is not None) == name.startswith("fc.")
        assert np.array_equal(p.detach().numpy(), before[name]) == (not name.startswith("fc."))
