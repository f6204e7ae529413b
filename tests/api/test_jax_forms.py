"""What JAX's transformations make of a function has the verdict of the function: jit, checkpoint, vmap, scan, pytrees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402
from jax import lax  # noqa: E402

import gradverify  # noqa: E402
from gradverify.core.verdict import FailKind, Outcome, Reason, Verdict  # noqa: E402

quick = partial(gradverify.check, effort="quick")
X = np.array([[0.3, -0.7, 1.2], [2.1, -1.4, 0.5]])
W = np.array([[0.5, -1.0], [2.0, 0.3], [-0.8, 1.1]])


@pytest.fixture(autouse=True)
def doubles() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def layer(x: Any, w: Any) -> Any:
    return jnp.tanh(x @ w) * jnp.exp(-jnp.square(x @ w))


@jax.custom_vjp
def off(x: Any) -> Any:
    """sin, with a backward that is off by a part in ten million."""
    return jnp.sin(x)


off.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cos(x) * (1 + 1e-7),))


@jax.custom_vjp
def right(x: Any) -> Any:
    return jnp.sin(x)


right.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cos(x),))


@jax.custom_jvp
def off_forward(x: Any) -> Any:
    return jnp.sin(x)


off_forward.defjvp(lambda p, t: (jnp.sin(p[0]), t[0] * jnp.cos(p[0]) * (1 + 1e-7)))

FORMS: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "eager": lambda f: f,
    "jit": jax.jit,
    "checkpoint": jax.checkpoint,
    "checkpoint in jit": lambda f: jax.jit(jax.checkpoint(f)),
    "vmap": jax.vmap,
    "jit of vmap of vmap": lambda f: jax.jit(jax.vmap(jax.vmap(f))),
    "scan": lambda f: lambda x: lax.scan(lambda c, row: (c + f(row), c), jnp.zeros(3), x),
    "cond": lambda f: lambda x: lax.cond(x[0, 0] > 0, f, jnp.cos, x),
    "fori_loop": lambda f: lambda x: lax.fori_loop(0, 2, lambda _, c: f(c), x),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_right_rule_passes_in_any_form(form: str) -> None:
    found = quick(FORMS[form](right), jnp.asarray(X))
    assert found.outcome is Outcome.PASS, found.text()
    assert found.power < 1e-12


@pytest.mark.parametrize("form", FORMS)
def test_a_wrong_rule_is_found_in_any_form(form: str) -> None:
    found = quick(FORMS[form](off), jnp.asarray(X))
    assert found.outcome is Outcome.FAIL, found.text()
    assert found.kind in (FailKind.WRONG, FailKind.PRECISION)


@pytest.mark.parametrize("form", ["jit", "checkpoint", "vmap"])
def test_the_verdict_on_a_right_function_is_the_eager_ones(form: str) -> None:
    """Of several arguments, one of them shared by the batch."""

    def same(v: Verdict) -> Any:
        return v.outcome, [(c.of, c.size, c.failing) for c in v.comparisons]

    made = {"jit": jax.jit, "checkpoint": jax.checkpoint, "vmap": partial(jax.vmap, in_axes=(0, None))}[form]
    x, w = jnp.asarray(X), jnp.asarray(W)
    eager, transformed = quick(layer, x, w), quick(made(layer), x, w)
    assert same(eager) == same(transformed)
    assert eager.outcome is Outcome.PASS
    assert transformed.power == pytest.approx(eager.power, rel=0.5)


def test_a_static_argument_of_jit() -> None:
    powered = jax.jit(lambda x, n: x**n, static_argnums=1)
    assert quick(lambda x: powered(x, 3), jnp.asarray(X))


def test_pytrees_of_arguments_and_results() -> None:
    def model(params: dict[str, Any], batch: tuple[Any, Any]) -> dict[str, Any]:
        x, y = batch
        h = jnp.tanh(x @ params["layers"][0]["w"] + params["layers"][0]["b"])
        return {"loss": jnp.mean((h - y) ** 2), "hidden": [h]}

    params = {"layers": [{"w": jnp.asarray(W), "b": jnp.array([0.1, -0.2])}]}
    batch = (jnp.asarray(X), jnp.array([[0.3, 0.1], [-0.4, 0.9]]))
    found = quick(jax.jit(model), params, batch)
    assert found.outcome is Outcome.PASS, found.text()
    names = {c.of for c in found.comparisons if c.of.startswith("d")}
    assert {"dparams['layers'][0]['w']", "dparams['layers'][0]['b']", "dbatch[0]", "dbatch[1]"} <= names
    alone = quick(model, params, batch, wrt="params['layers'][0]['w']")
    assert [c.of for c in alone.comparisons if c.of.startswith("d")] == ["dparams['layers'][0]['w']"]


def test_a_wrong_leaf_of_a_pytree_is_named() -> None:
    @jax.custom_vjp
    def scaled(p: dict[str, Any]) -> Any:
        return p["a"] * p["b"]

    scaled.defvjp(lambda p: (p["a"] * p["b"], p), lambda p, g: ({"a": g * p["b"], "b": 1.001 * g * p["a"]},))
    found = quick(jax.jit(scaled), {"a": jnp.asarray(X), "b": jnp.asarray(X) + 2.0})
    assert found.outcome is Outcome.FAIL
    failing = [c.of for c in found.comparisons if c.failing]
    assert failing == ["dp['b']"], found.text()


def test_an_empty_pytree_and_none_are_no_arguments() -> None:
    assert quick(lambda x, rest: jnp.sin(x), jnp.asarray(X), {"none": None, "nothing": ()})


def test_a_rule_that_only_the_compiled_function_has() -> None:
    """jit is entered by its jaxpr, so what Python does differently while it traces is part of what is judged."""

    def two_faced(x: Any) -> Any:
        return off(x) if isinstance(x, jax.core.Tracer) else jnp.sin(x)

    assert quick(jax.jit(two_faced), jnp.asarray(X)).outcome is Outcome.FAIL


@pytest.mark.parametrize("form", ["checkpoint in jit", "vmap"])
def test_forward_mode_and_second_order_in_any_form(form: str) -> None:
    transformed = FORMS[form](lambda x: jnp.sin(x) * x)
    assert gradverify.check(transformed, jnp.asarray(X), modes=("rev", "fwd"), order=2, effort="quick")
    wrong = gradverify.check(FORMS[form](off_forward), jnp.asarray(X), modes="fwd", effort="quick")
    assert wrong.outcome is Outcome.FAIL


def test_a_branch_in_python_is_judged_by_differences() -> None:
    """jax.grad takes it, with the values at hand; jit, and with it the trace to a graph, does not."""

    def branching(f: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x: f(x) if x.sum() > 0 else x

    found = quick(branching(right), jnp.asarray(X))
    assert found.outcome is Outcome.PASS, found.text()
    assert any("branches in Python" in n for n in found.notes)
    assert quick(branching(off), jnp.asarray(X)).outcome is Outcome.FAIL


def test_a_reduction_by_a_computation_of_ones_own() -> None:
    def combined(x: Any) -> Any:
        return lax.reduce(x, 0.0, lambda a, b: a + b + a * b, (1,))

    found = quick(combined, jnp.asarray(X))
    assert found.outcome is Outcome.PASS, found.text()
    assert found.power < 1e-12


def test_a_while_loop_has_a_jvp_and_no_vjp() -> None:
    def doubled(x: Any) -> Any:
        return lax.while_loop(lambda c: c.sum() < 50.0, lambda c: c * c + 1.0, x)

    backward, forward = quick(doubled, jnp.asarray(X)), quick(doubled, jnp.asarray(X), modes="fwd")
    assert backward.reason is Reason.NO_RULE
    assert "Reverse-mode differentiation does not work" in backward.message
    assert forward.outcome is Outcome.PASS, forward.text()
