"""Custom gradients of the engine and of JAX: recorded and judged as PyTorch's are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradverify import Outcome, engine
from gradverify.engine.autograd.function import Function
from gradverify.frameworks.registry import of_functions
from gradverify.watch.judge import judge

from .helpers import record


class Cube(Function):
    @staticmethod
    def forward(ctx: Any, values: Any, scale: float) -> Any:
        ctx.save_for_backward(values)
        ctx.scale = scale
        return scale * values * values * values

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (values,) = ctx.saved_tensors
        return ctx.scale * g * 3 * values * values, None


class WrongCube(Cube):
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (values,) = ctx.saved_tensors
        return ctx.scale * g * 3 * values * values + g / 100, None


@pytest.mark.parametrize(("function", "outcome"), [(Cube, Outcome.PASS), (WrongCube, Outcome.FAIL)])
def test_the_engine(function: type[Function], outcome: Outcome) -> None:
    x = engine.tensor([0.5, -1.0, 2.0], requires_grad=True)

    def run() -> None:
        (function.apply(x, 2.0) * engine.tensor([1.0, 2.0, 3.0])).sum().backward()

    (sample,) = record(run).samples
    assert sample.signature == "values=float32(3)*"
    assert sample.fixed == "scale=2.0"
    np.testing.assert_array_equal(sample.cotangents[0][0], [1, 2, 3])
    np.testing.assert_allclose(x.grad.numpy()[1], 2 * 2 * 3 * 1 + (0 if function is Cube else 2 / 100), rtol=1e-6)
    assert judge(sample).verdict.outcome is outcome
    assert "backward" not in vars(Cube._backward_cls)


class RoughCube(Cube):
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return 3 * Cube.backward(ctx, g)[0], None


class Ratio(Function):
    """Two outputs, an argument that is not differentiated, one that is no array."""

    @staticmethod
    def forward(ctx: Any, values: Any, weights: Any, power: int, *rest: Any) -> Any:
        ctx.save_for_backward(values, weights)
        return values * weights, values / 2

    @staticmethod
    def backward(ctx: Any, g: Any, h: Any) -> Any:
        _, weights = ctx.saved_tensors
        return g * weights + h, None, None


RUNS = {
    "one output": lambda: RoughCube.apply(engine.tensor([0.5, -1.0], requires_grad=True), 2.0).sum().backward(),
    "a scalar": lambda: RoughCube.apply(engine.tensor(0.5, requires_grad=True), -1.5).backward(),
    "several outputs": lambda: (
        Ratio.apply(engine.tensor([[1.0], [2.0]], requires_grad=True), engine.tensor([[3.0], [-1.0]]), 2)[1]
        .sum()
        .backward()
    ),
    "float64": lambda: RoughCube.apply(engine.from_numpy(np.array([0.5, 3.0])).requires_grad_(), 2.0).sum().backward(),
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_script_of_the_engine_shows_the_fault(run: Any, tmp_path: Path) -> None:
    (sample,) = record(run).samples
    script = of_functions("engine").script(sample)
    assert script is not None
    (tmp_path / "reproduce.py").write_text(script.text)
    np.savez(tmp_path / "inputs.npz", **script.arrays)
    done = subprocess.run([sys.executable, "reproduce.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rule, *slopes = (float(line.rpartition(": ")[2]) for line in done.stdout.splitlines() if line.startswith("slope"))
    assert abs(rule - slopes[2]) > 0.3 * abs(rule)
    assert slopes[1] == pytest.approx(slopes[2], rel=1e-2)
    assert "import torch" not in script.text


def test_a_function_of_the_engine_that_no_script_can_import() -> None:
    class Inner(WrongCube):
        pass

    (sample,) = record(lambda: Inner.apply(engine.tensor([1.0], requires_grad=True), 2.0).backward()).samples
    assert of_functions("engine").script(sample) is None


def test_an_engine_without_gradients_is_counted() -> None:
    (entry,) = record(lambda: Cube.apply(engine.tensor([1.0]), 2.0)).entries.values()
    assert (entry.executed, entry.undifferentiated) == (1, 1)


def log1pexp(error: float) -> Any:
    jax = pytest.importorskip("jax")

    @jax.custom_vjp
    def softplus(x: Any, scale: Any) -> Any:
        return scale * jax.numpy.log1p(jax.numpy.exp(x))

    def fwd(x: Any, scale: Any) -> Any:
        return softplus(x, scale), (x, scale)

    def bwd(saved: Any, g: Any) -> Any:
        x, scale = saved
        return g * scale * (jax.nn.sigmoid(x) + error), g * jax.numpy.log1p(jax.numpy.exp(x))

    softplus.defvjp(fwd, bwd)
    return softplus


@pytest.mark.parametrize(("error", "outcome"), [(0.0, Outcome.PASS), (1e-3, Outcome.FAIL)])
def test_custom_vjp(error: float, outcome: Outcome) -> None:
    jax = pytest.importorskip("jax")
    fn, x = log1pexp(error), jax.numpy.array([0.5, -1.0])
    scale = jax.numpy.ones(2)
    (sample,) = record(lambda: jax.grad(lambda t: fn(t, scale).sum())(x)).samples
    assert sample.signature == "x=float32(2)*,scale=float32(2)"
    assert judge(sample).verdict.outcome is outcome


def test_a_rule_of_a_function_of_jax() -> None:
    """The function is JAX's, its rule is not."""
    jax = pytest.importorskip("jax")
    sine = jax.custom_vjp(jax.numpy.sin)
    sine.defvjp(lambda x: (jax.numpy.sin(x), x), lambda x, g: (g * jax.numpy.cos(x) * 1.01,))
    (sample,) = record(lambda: jax.grad(lambda t: sine(t).sum())(jax.numpy.array([0.5, 1.0]))).samples
    assert judge(sample).verdict.outcome is Outcome.FAIL
    assert not record(lambda: jax.grad(lambda t: jax.nn.relu(t).sum())(jax.numpy.array([0.5, 1.0]))).samples


def test_custom_jvp() -> None:
    jax = pytest.importorskip("jax")

    @jax.custom_jvp
    def sine(x: Any) -> Any:
        return jax.numpy.sin(x)

    @sine.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        return sine(primals[0]), jax.numpy.cos(primals[0]) * tangents[0] * 1.01

    (sample, *_) = record(lambda: jax.grad(lambda t: sine(t).sum())(jax.numpy.array([0.5, 1.0]))).samples
    found = judge(sample)
    assert found.verdict.outcome is Outcome.FAIL
