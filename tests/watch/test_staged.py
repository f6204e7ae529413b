"""JAX's custom gradients under jit, vmap and scan: what their rules hand over, and that nothing changes beside it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from gradverify import Outcome
from gradverify.frameworks.watching import unwatched
from gradverify.watch.judge import judge

from .helpers import record

jax = pytest.importorskip("jax")
export = pytest.importorskip("jax.export")
jnp = jax.numpy


def softplus(error: float = 0.0) -> Any:
    @jax.custom_vjp
    def fn(x: Any, w: Any) -> Any:
        return jnp.log1p(jnp.exp(x)) * w

    def bwd(saved: Any, g: Any) -> Any:
        x, w = saved
        return g * w * (jax.nn.sigmoid(x) + error), jnp.zeros_like(w)  # of a weight that nobody differentiates

    fn.defvjp(lambda x, w: (fn(x, w), (x, w)), bwd)
    return fn


def sine(error: float = 0.0) -> Any:
    @jax.custom_jvp
    def fn(x: Any, w: Any) -> Any:
        return jnp.sin(x) * w

    @fn.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        (x, w), (dx, _) = primals, tangents
        return fn(x, w), (jnp.cos(x) + error) * w * dx

    return fn


X = jnp.linspace(-2, 2, 6, dtype=jnp.float32)
W = jnp.arange(1, 7, dtype=jnp.float32)


def loss(fn: Any) -> Any:
    return lambda x: (fn(x, W) ** 2).sum()


def scanned(fn: Any) -> Any:
    return lambda x: jax.lax.scan(lambda c, w: (fn(c, w), None), x, jnp.ones((5, 6)))[0].sum()


WAYS: dict[str, Callable[[Any], Any]] = {
    "jit of grad": lambda fn: jax.jit(jax.grad(loss(fn)))(X),
    "grad of jit": lambda fn: jax.grad(jax.jit(loss(fn)))(X),
    "vmap of grad": lambda fn: jax.vmap(jax.grad(lambda x: fn(x, 2.0)))(X),
    "grad of vmap": lambda fn: jax.grad(lambda x: jax.vmap(fn)(x, W).sum())(X),
    "jit of vmap of vmap": lambda fn: jax.jit(jax.vmap(jax.vmap(jax.grad(lambda x: fn(x, 1.0)))))(X.reshape(2, 3)),
    "a vmap over the last axis": lambda fn: jax.vmap(jax.grad(loss(fn)), 1, 1)(jnp.stack([X, 2 * X], 1)),
    "scan": lambda fn: jax.grad(scanned(fn))(X),
    "checkpoint": lambda fn: jax.grad(jax.checkpoint(loss(fn)))(X),
    "cond": lambda fn: jax.grad(lambda x: jax.lax.cond(x[0] < 0, loss(fn), jnp.sum, x))(X),
    "a loop": lambda fn: jax.grad(lambda x: jax.lax.fori_loop(0, 3, lambda _, c: fn(c, W), x).sum())(X),
    "second order": lambda fn: jax.jit(jax.jacrev(jax.grad(loss(fn))))(X),
    "bfloat16": lambda fn: jax.jit(jax.grad(loss(fn)))(X.astype(jnp.bfloat16)),
}


def same(a: Any, b: Any) -> bool:
    return a.dtype == b.dtype and a.weak_type == b.weak_type and bool((np.asarray(a) == np.asarray(b)).all())


@pytest.mark.parametrize("make", [softplus, sine])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_call_is_recorded_and_nothing_changes(way: Callable[[Any], Any], make: Any) -> None:
    found: list[Any] = []
    recorder = record(lambda: found.append(way(make())))
    assert same(found[0], way(make()))
    (entry,) = recorder.entries.values()
    assert not entry.missed
    assert entry.executed > entry.undifferentiated
    assert entry.samples
    for sample in entry.samples:
        assert sample.names == ("x",)
        assert len(sample.cotangents) == (make is softplus)


@pytest.mark.parametrize(("error", "outcome"), [(0.0, Outcome.PASS), (1e-2, Outcome.FAIL)])
@pytest.mark.parametrize("make", [softplus, sine])
@pytest.mark.parametrize("way", ["grad of jit", "vmap of grad", "scan"])
def test_it_is_judged(way: str, make: Any, error: float, outcome: Outcome) -> None:
    sample, *_ = record(lambda: WAYS[way](make(error))).samples
    assert judge(sample).verdict.outcome is outcome


def test_arguments_and_cotangents_are_those_of_one_call() -> None:
    fn = softplus()
    run = jax.jit(jax.grad(lambda x, c: (fn(x, W) * c).sum()))

    def both() -> None:
        run(X, W)
        run(-100 * X, 3 * W)

    for sample in record(both).samples:
        factor = 1 if abs(sample.args[0]).max() <= 2 else 3
        np.testing.assert_array_equal(sample.cotangents[0][0], factor * W)


def test_some_rows_of_a_vmap_are_recorded_by_one_callback() -> None:
    recorder = record(lambda: jax.vmap(jax.grad(lambda x: softplus()(x, 1.0)))(jnp.linspace(-50.0, 50.0, 1000)))
    values = {float(s.args[0]) for s in recorder.samples}
    assert {-50.0, 50.0} <= values
    assert len(values) <= 4


def test_no_row_and_no_entry() -> None:
    grad = jax.grad(lambda x: softplus()(x, 1.0).sum())
    assert not record(lambda: jax.vmap(grad)(jnp.zeros(0))).samples
    (sample,) = record(lambda: jax.jit(grad)(jnp.zeros((0, 3)))).samples
    assert sample.args[0].shape == (0, 3)


def test_static_arguments_and_trees() -> None:
    @partial(jax.custom_vjp, nondiff_argnums=(0, 2))
    def power(fn: Any, x: Any, n: int, scale: Any) -> Any:
        return fn(x) ** n * scale["a"]

    def bwd(fn: Any, n: int, saved: Any, g: Any) -> Any:
        x, a = saved
        y, pull = jax.vjp(fn, x)
        return pull(g * n * y ** (n - 1) * a)[0], {"a": g * y**n}

    power.defvjp(lambda fn, x, n, scale: (power(fn, x, n, scale), (x, scale["a"])), bwd)
    total = jax.jit(jax.grad(lambda x, a: power(jnp.sin, x, 3, {"a": a}).sum(), (0, 1)))
    (sample,) = record(lambda: total(X, W)).samples
    assert sample.signature == "x=float32(6)*,scale['a']=float32(6)*"
    assert "n=3" in sample.fixed
    assert judge(sample).verdict.outcome is Outcome.PASS


def test_containers_of_somebody_elses_get_no_symbolic_zeros() -> None:
    """What is differentiated of them is what the rule gives gradients for."""

    @jax.tree_util.register_pytree_node_class
    class Pair:
        def __init__(self, a: Any, b: Any) -> None:
            self.a, self.b = a, b

        def tree_flatten(self) -> Any:
            return (self.a, self.b), None

        @classmethod
        def tree_unflatten(cls, _: None, children: Any) -> Any:
            assert not any(hasattr(c, "perturbed") for c in children)
            return cls(*children)

    @jax.custom_vjp
    def product(pair: Pair) -> Any:
        return pair.a * pair.b

    product.defvjp(lambda p: (p.a * p.b, (p.a, p.b)), lambda saved, g: (Pair(g * saved[1], g * saved[0]),))
    (sample,) = record(lambda: jax.jit(jax.grad(lambda x: product(Pair(x, W)).sum()))(X)).samples
    assert len(sample.names) == 2
    assert judge(sample).verdict.outcome is Outcome.PASS


@pytest.mark.parametrize("make", [softplus, sine])
def test_an_exported_function_is_what_it_was(make: Any) -> None:
    """What is written to a file has no callbacks."""
    exported: list[Any] = []
    recorder = record(lambda: exported.append(export.export(jax.jit(jax.grad(loss(make()))))(X)))
    assert "callback" not in exported[0].mlir_module()
    assert same(exported[0].call(X), jax.jit(jax.grad(loss(make())))(X))
    assert not recorder.samples


def test_a_donated_argument() -> None:
    found: list[Any] = []
    run = jax.jit(jax.grad(loss(softplus())), donate_argnums=0)
    (sample,) = record(lambda: found.append(run(X + 0))).samples
    assert same(found[0], jax.jit(jax.grad(loss(softplus())))(X))
    np.testing.assert_array_equal(sample.args[0], X)


def test_without_a_gradient_it_is_counted_as_undifferentiated() -> None:
    (entry,) = record(lambda: jax.jit(loss(softplus()))(X)).entries.values()
    assert (entry.executed, entry.undifferentiated, entry.samples) == (1, 1, [])


def test_what_is_too_large_is_missed() -> None:
    (entry,) = record(lambda: jax.jit(jax.grad(lambda x: softplus()(x, 1.0).sum()))(jnp.ones(2**21))).entries.values()
    assert not entry.samples
    assert entry.missed["it is too large to be handed over by a compiled rule"] == 1


def test_runs_after_the_watch_are_nobodys() -> None:
    run = jax.jit(jax.grad(loss(softplus())))
    recorder = record(lambda: run(X))
    (entry,) = recorder.entries.values()
    before = entry.executed
    run(2 * X).block_until_ready()
    assert (entry.executed, len(entry.samples)) == (before, 1)
    gone = weakref.ref(recorder)
    del recorder, entry
    gc.collect()
    assert gone() is None


def test_runs_of_a_judgement_are_nobodys() -> None:
    run = jax.jit(jax.grad(loss(softplus())))

    def judged() -> None:
        run(X)
        with unwatched():
            run(2 * X).block_until_ready()

    (entry,) = record(judged).entries.values()
    assert len(entry.samples) == 1
    assert entry.checked


def test_the_watch_itself_leaves_x64_alone() -> None:
    kept = jax.config.jax_enable_x64
    record(lambda: jax.jit(jax.grad(loss(softplus())))(X))
    assert jax.config.jax_enable_x64 == kept


def test_a_rule_that_is_wrong_in_form_is_told_by_jax() -> None:
    @jax.custom_vjp
    def fn(x: Any) -> Any:
        return x

    fn.defvjp(lambda x: x, lambda saved, g: (g,))
    with pytest.raises(TypeError, match="must produce a pair"):
        record(lambda: jax.jit(jax.grad(lambda x: fn(x).sum()))(X))
