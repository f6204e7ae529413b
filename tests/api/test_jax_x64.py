"""Functions of JAX that run without 64-bit mode alone, JAX's default: asked again without it, where the caller has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gradverify import Outcome
from gradverify.core.errors import BadInput
from tests.helpers import judge

jax = pytest.importorskip("jax", reason="JAX is not installed")
jnp = jax.numpy


def counted(x: Any) -> Any:
    """A loop whose counter is int32 at first, and what `arange` has, which x64 makes int64, afterwards."""
    step = jnp.arange(1).sum()
    return jax.lax.fori_loop(0, 3, lambda k, c: (c[0] + step, c[1] * x), (jnp.int32(0), x))[1].sum()


def branched(x: Any) -> Any:
    return (x * jax.lax.cond(x.sum() > 0, lambda: jnp.int32(2), lambda: jnp.arange(4).max())).sum()


def scanned(x: Any) -> Any:
    made = jax.lax.scan(lambda c, v: ((c[0] + jnp.arange(2).max(), c[1] * v), v), (jnp.int32(0), jnp.float32(1)), x)
    return made[0][1] * x.sum()


ONLY_WITHOUT = {"fori_loop": counted, "cond": branched, "scan": scanned}


def x() -> Any:
    return jnp.array([0.5, 1.5], jnp.float32)


@pytest.mark.parametrize("name", ONLY_WITHOUT)
def test_what_runs_without_x64_is_judged_without(name: str) -> None:
    with jax.enable_x64(True), pytest.raises(TypeError):
        ONLY_WITHOUT[name](x())
    verdict = judge(ONLY_WITHOUT[name], x())
    assert verdict.outcome is Outcome.PASS, verdict.text()
    assert not jax.config.jax_enable_x64


@pytest.mark.parametrize("name", ONLY_WITHOUT)
def test_where_the_caller_has_x64_it_is_the_functions_error(name: str) -> None:
    with jax.enable_x64(True), pytest.raises(BadInput, match="TypeError"):
        judge(ONLY_WITHOUT[name], x())


@pytest.mark.parametrize("raised", ["forward", "backward", "after an effect"])
def test_an_error_that_x64_has_no_part_in(raised: str) -> None:
    calls = []

    @jax.custom_vjp
    def f(x: Any) -> Any:
        calls.append(1)
        if raised != "backward":
            raise TypeError("not mine")
        return x * 2

    def backward(_: Any, g: Any) -> Any:
        raise TypeError("not mine")

    f.defvjp(lambda x: (f(x), None), backward)
    function: Callable[..., Any] = f
    if raised == "after an effect":
        function = lambda v: f(v * 2) + len(calls)
    if raised == "backward":
        verdict = judge(function, x())
        assert verdict.outcome is Outcome.FAIL
        assert "TypeError: not mine" in verdict.text()
    else:
        with pytest.raises(BadInput, match="TypeError: not mine"):
            judge(function, x())
