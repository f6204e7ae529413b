"""Training programs: right engines pass, and what is forgotten in a loop is found at the step where it matters."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import gradverify.engine as engine
from gradverify.conformance import programs
from gradverify.conformance.engines import find
from gradverify.conformance.law import laws
from gradverify.conformance.programs import PROGRAMS, Mismatch, run

from .broken import BROKEN


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("module", ["engine", "torch"])
def test_right_engines_train(module: str, name: str) -> None:
    run(name, engine if module == "engine" else pytest.importorskip("torch"))


def test_an_update_one_part_in_a_million_too_large_is_found() -> None:
    class Off(engine.optim.SGD):
        def __init__(self, params: Any, lr: float, momentum: float = 0.0) -> None:
            super().__init__(params, lr=lr * (1 + 1e-6), momentum=momentum)

    with pytest.raises(Mismatch, match="mlp, step 0: w"):
        run("mlp", like_engine(optim=SimpleNamespace(SGD=Off)))


def like_engine(**replaced: Any) -> Any:
    """The engine, with something in its module replaced."""
    names = {n: getattr(engine, n) for n in dir(engine) if not n.startswith("_")}
    return SimpleNamespace(**names | replaced)


class Forgets(engine.optim.SGD):
    """zero_grad is not called."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        pass


class Twice(engine.optim.SGD):
    """step is called twice."""

    def step(self, closure: Any = None) -> Any:
        super().step()
        return super().step()


# The loop of two optimizers counts two steps per batch.
@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize(("optimizer", "step"), [(Forgets, 1), (Twice, 0)])
def test_a_broken_loop_is_found(name: str, optimizer: Any, step: int) -> None:
    with pytest.raises(Mismatch, match=f"step {step if name != 'two_optimizers' else 2 * step}: "):
        run(name, like_engine(optim=SimpleNamespace(SGD=optimizer)))


def test_a_missing_detach_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs.Watch, "array", _array)
    monkeypatch.setattr(engine.Tensor, "detach", lambda self: self)
    with pytest.raises(Mismatch, match=r"two_optimizers, step 0: maker.grad: expected none"):
        run("two_optimizers", engine)


def _array(watch: programs.Watch, name: str) -> Any:
    import numpy as np

    return np.array(watch.tensors[name].tolist(), dtype=np.float32)


def test_a_checkpoint_that_forgets_its_parameters_is_found() -> None:
    def forgetful(y: Any, inputs: Any, g: Any) -> Any:
        x, *parameters = inputs
        return (*engine.autograd.grad(y, [x], g), *(None for _ in parameters))

    autograd = SimpleNamespace(Function=engine.autograd.Function, grad=forgetful)
    with pytest.raises(Mismatch, match=r"checkpointed, step 0: v.grad: expected a gradient, got None"):
        run("checkpointed", like_engine(autograd=autograd))


@pytest.mark.parametrize(
    "name",
    ["overwrites_grad", "averages_paths", "detach_keeps_history", "no_grad_does_nothing",
     "backward_leaves_mode_off", "enable_grad_does_nothing", "gradient_broadcasts"],
)  # fmt: skip
def test_broken_engines_are_found_by_training(name: str) -> None:
    """Those that spoil training do; an engine that only forgets to complain trains as well as any."""
    broken = next(b for b in BROKEN if b.name == name).load()
    found = {law.name for law in laws().values() if law.family == "programs" and law.check(broken) is not None}
    assert bool(found) == (name != "gradient_broadcasts"), found


def test_programs_are_laws_with_a_short_script() -> None:
    broken = next(b for b in BROKEN if b.name == "overwrites_grad").load()
    caught = laws()["trains_micro_batches"].check(broken)
    assert caught is not None
    assert caught.script[-1] == "run('micro_batches', torch)"
    assert len(caught.script) == 3
    with pytest.raises(Mismatch):
        exec("\n".join(caught.script), {})
    assert laws()["trains_mlp"].missing(find("tinygrad")) == {"optim"}


@pytest.mark.parametrize("name", ["tinygrad", "autograd", "jax", "mlx"])
def test_engines_without_optimizers_train_by_values(name: str) -> None:
    other = find(name)
    if other.unavailable():
        pytest.skip(other.unavailable() or "")
    assert laws()["trains_by_values"].check(other) is None


def test_a_leaking_detach_is_found_by_values() -> None:
    """The truth is the oracle's, so that no engine stands for the right one."""
    caught = laws()["trains_against_a_detached_target"].check(
        next(b for b in BROKEN if b.name == "detach_keeps_history").load()
    )
    assert caught is not None
    assert "at step 0" in str(caught)
