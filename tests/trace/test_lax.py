"""Every mapped JAX primitive: its graph in NumPy against JAX's own forward value, here and at a point nearby."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402
from jax import lax  # noqa: E402
from jax.ad_checkpoint import checkpoint_name  # noqa: E402

from gradverify.frameworks.jax.lax import CALLS, CONTROL, MAPPED  # noqa: E402
from gradverify.frameworks.jax.tracer import trace  # noqa: E402
from gradverify.namespaces.numpy import NUMPY  # noqa: E402
from gradverify.namespaces.run import forward  # noqa: E402

RNG = np.random.default_rng(11)


@pytest.fixture(autouse=True)
def doubles() -> Any:
    with jax.enable_x64(True):
        yield


def r(*shape: int) -> np.ndarray:
    """Normal entries, none within 0.05 of a multiple of 1/2."""
    x = RNG.standard_normal(shape)
    return np.where(np.abs(2 * x - np.round(2 * x)) < 0.1, x + 0.12, x)


def spd(n: int) -> np.ndarray:
    a = r(n, n)
    return a @ a.T + n * np.eye(n)


X, Y, P, U = r(2, 3), r(2, 3), RNG.uniform(0.2, 2.0, (2, 3)), RNG.uniform(0.1, 0.9, (2, 3))
A, B, C = r(3, 3) + 4 * np.eye(3), r(3, 2), r(2, 3, 4)
IMAGE = r(2, 4, 5, 6)
DIMS = ("NCHW", "OIHW", "NCHW")

Case = tuple[Any, ...]


def unary(x: Any, names: str) -> dict[str, Case]:
    return {n: (getattr(lax, n), x) for n in names.split()}


def masks(op: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *xs: jnp.where(op(*(x > 0 for x in xs)), xs[0], 2.0)


def chosen(op: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, y: jnp.where(op(x, y), x, 2.0)


def reduced(op: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: op(x, axis=1)


def running(op: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: (op(x, 1), op(x, 0, reverse=True))


CASES: dict[str, Case] = {
    **unary(X, "abs neg sign square exp exp2 expm1 sin cos tan atan sinh cosh tanh asinh floor ceil logistic erf erfc cbrt"),
    **unary(P, "sqrt rsqrt log log1p lgamma digamma"),
    **unary(U, "asin acos atanh erf_inv"),
    "acosh": (lax.acosh, 1 + P),
    "round": (lambda x: (lax.round(x), lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN)), X),
    **{n: (getattr(lax, n), X, Y) for n in ("add", "sub", "mul", "max", "min")},
    **{n: (getattr(lax, n), X, P) for n in ("div", "rem", "atan2")},
    "pow": (lax.pow, P, X),
    "integer_pow": (lambda x: (x**3, lax.integer_pow(x, -1), x**2), P),
    "add_any": (jax.grad(lambda x: (jnp.sin(x) * x).sum()), X),
    **{n: (chosen(getattr(lax, n)), X, Y) for n in "eq ne lt le gt ge".split()},
    "and": (masks(jnp.logical_and), X, Y),
    "or": (masks(jnp.logical_or), X, Y),
    "xor": (masks(jnp.logical_xor), X, Y),
    "not": (masks(jnp.logical_not), X),
    "is_finite": (lambda x: jnp.where(lax.is_finite(x), x, 0.0), X),
    "clamp": (lambda x: lax.clamp(-0.3, x, 0.4), X),
    "polygamma": (lambda x: lax.polygamma(2.0, x), P),
    "igamma": (lax.igamma, P, U),
    "igammac": (lax.igammac, P, U + np.array([0.0, 2.0, 4.0])),
    "igamma_grad_a": (lax.igamma_grad_a, P, U),
    "regularized_incomplete_beta": (lambda x: lax.betainc(jnp.full_like(x, 1.5), jnp.full_like(x, 2.5), x), U),
    "bessel_i0e": (lax.bessel_i0e, 4 * X),
    "bessel_i1e": (lax.bessel_i1e, 4 * X),
    "zeta": (lambda q: (lax.zeta(jnp.full_like(q, 3.0), q), lax.zeta(jnp.full_like(q, 2.5), q)), P),
    "select_n": (lambda x, y: lax.select_n(np.array([[0, 1, 2], [2, 1, 0]]), x, y, x * y), X, Y),
    "stop_gradient": (lambda x: lax.stop_gradient(x) * x, X),
    "copy": (lambda x: jnp.array(x, copy=True) * 2, X),
    "copy_p": (lambda x: jnp.copy(x) * 2, X),
    "reduce_precision": (lambda x: lax.reduce_precision(x, 11, 52), X),
    "convert_element_type": (lambda x: (x > 0).astype(x.dtype) * x, X),
    "optimization_barrier": (lambda x: lax.optimization_barrier((x, 2 * x)), X),
    "device_put": (lambda x: jax.device_put(x) * 2, X),
    "name": (lambda x: checkpoint_name(x, "here") * 2, X),
    # reductions
    **{f"reduce_{n}": (reduced(getattr(jnp, n)), X) for n in ("sum", "max", "min", "prod")},
    "reduce_and": (lambda x: jnp.where(jnp.all(x > -1, axis=1), x[:, 0], 2.0), X),
    "reduce_or": (lambda x: jnp.where(jnp.any(x > 1, axis=1), x[:, 0], 2.0), X),
    **{n: (running(getattr(lax, n)), X) for n in "cumsum cumprod cummax cummin cumlogsumexp".split()},
    "sort": (lambda x, y: (jnp.sort(x), lax.sort((x, y), num_keys=1), lax.sort((x * 0, y), num_keys=2)), X, Y),
    "top_k": (lambda x: lax.top_k(x, 2)[0], X),
    "reduce_window_sum": (
        lambda x: [
            lax.reduce_window(x, 0.0, lax.add, (1, 2), (1, 2), "SAME"),
            lax.reduce_window(x, 0.0, lax.add, (2, 2), (1, 1), [(1, 0), (0, 2)], base_dilation=(2, 3)),
        ], X),
    "reduce_window_max": (
        lambda x: [
            lax.reduce_window(x, -np.inf, lax.max, (2, 2), (1, 1), [(1, 0), (0, 1)]),
            lax.reduce_window(x, -np.inf, lax.max, (2, 3), (1, 2), "VALID", base_dilation=(1, 2)),
        ], X),
    "reduce_window_min": (
        lambda x: lax.reduce_window(x, np.inf, lax.min, (1, 2), (1, 1), "VALID", window_dilation=(1, 2)), X),
    # shape
    "reshape": (lambda x: (x.reshape(3, 2), lax.reshape(x, (6,), (1, 0)), jnp.column_stack(x)), X),
    "squeeze": (lambda x: x[:, :1].squeeze(1), X),
    "transpose": (lambda x: jnp.transpose(x, (2, 0, 1)), C),
    "broadcast_in_dim": (lambda x: lax.broadcast_in_dim(x, (2, 4, 3), (0, 2)), X),
    "slice": (lambda x: x[:, 0:3:2], X),
    "rev": (lambda x: jnp.flip(x, 1), X),
    "concatenate": (lambda x, y: jnp.concatenate([x, y], 1), X, Y),
    "stack": (lambda x, y: jnp.stack([x, y], 1), X, Y),
    "unstack": (lambda x: jnp.unstack(x, axis=1), X),
    "split": (lambda x: lax.split(x, (1, 2), 1), X),
    "tile": (lambda x: jnp.tile(x, (2, 1, 2)), X),
    "pad": (lambda x, v: (lax.pad(x, v, [(1, -1, 0), (0, 2, 1)]), lax.pad(x, 0.0, [(0, 1, 2), (-1, 0, 0)])), X, r()),
    # indexing
    "gather": (lambda x: (x[jnp.array([0, 1, 1]), jnp.array([2, 0, -1])], x.at[5].get(mode="fill", fill_value=3.0)), X),
    "dynamic_slice": (lambda x: lax.dynamic_slice(x, (np.int32(1), np.int32(5)), (1, 2)), X),
    "dynamic_update_slice": (lambda x, y: lax.dynamic_update_slice(x, y[:1, :2], (np.int32(1), np.int32(1))), X, Y),
    "scatter": (lambda x, y: x.at[jnp.array([1]), 1:].set(y[:1, :2]), X, Y),
    "scatter-add": (lambda x, y: x.at[jnp.array([1, 1, 7])].add(jnp.concatenate([y, y[:1]]), mode="drop"), X, Y),
    "scatter-sub": (lambda x, y: x.at[jnp.array([1, 1])].subtract(y), X, Y),
    "scatter-mul": (lambda x, y: (x.at[jnp.array([1, 0])].multiply(y), x.at[jnp.array([1, 1])].multiply(y)), X, Y),
    "scatter-max": (lambda x, y: (x.at[jnp.array([1, 0])].max(y), x.at[jnp.array([1, 1])].max(y)), X, Y),
    "scatter-min": (lambda x, y: (x.at[jnp.array([1, 0])].min(y), x.at[jnp.array([0, 9])].min(y, mode="drop")), X, Y),
    # linear algebra
    "dot_general": (lambda a, c: (a @ a, jnp.einsum("bij,bkj->bik", c, c), jnp.tensordot(a, c, ((0,), (1,)))), A, C),
    "cholesky": (jnp.linalg.cholesky, spd(3)),
    "triangular_solve": (
        lambda a, b: [
            lax.linalg.triangular_solve(a, b, left_side=left, lower=lower, transpose_a=t, unit_diagonal=u)
            for left, lower, t, u in [(True, True, False, False), (True, False, True, True)]
        ] + [lax.linalg.triangular_solve(a, b.T, left_side=False, lower=True, transpose_a=t) for t in (True, False)],
        A, B),
    "lu": (lambda a: lax.linalg.lu(a)[0], r(2, 3, 4)),
    "qr": (lambda a: (jnp.linalg.qr(a), jnp.linalg.qr(a.mT)), r(2, 4, 3)),
    "eig": (lambda a: jnp.linalg.eigvals(a).real, spd(3)),
    "eigh": (lambda a: jnp.linalg.eigh(a), spd(3)),
    "svd": (lambda a: (jnp.linalg.svd(a, full_matrices=False), jnp.linalg.svd(a.mT, compute_uv=False)), r(2, 4, 3)),
    "symmetric_product": (lambda a, c: lax.linalg.symmetric_product(a, c, alpha=2.0, beta=0.5), A, spd(3)),
    "conv_general_dilated": (
        lambda x, w: (
            lax.conv_general_dilated(x, w, (2, 1), [(1, 0), (-1, 2)], rhs_dilation=(1, 2), dimension_numbers=DIMS,
                                     feature_group_count=2),
            lax.conv_transpose(jnp.transpose(x, (0, 2, 3, 1)), jnp.transpose(w, (2, 3, 0, 1))[:, :, :4], (2, 2), "SAME"),
        ), IMAGE, r(4, 2, 3, 2)),
}  # fmt: skip

ELSEWHERE = {
    # complex numbers: in test_complex.py
    "complex", "real", "imag", "conj", "fft",
    # names of other versions of JAX, or of sharded programs; each shares the mapping of one that is tested
    "copy_p", "broadcast_to", "pvary", "reshard", "sharding_constraint", "device_put",
}  # fmt: skip


def test_every_mapped_primitive_has_a_case() -> None:
    assert set(MAPPED) - ELSEWHERE <= set(CASES)
    assert set(CASES) <= set(MAPPED)
    assert len(set(MAPPED) - ELSEWHERE) + len(CALLS) + len(CONTROL) >= 100


class Watched(dict):
    """The table, with the primitives that were looked up in it."""

    seen: set[str]

    def __getitem__(self, name: str) -> Any:
        self.seen.add(name)
        return super().__getitem__(name)


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_graph_computes_what_jax_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(MAPPED)
    watched.seen = set()
    monkeypatch.setattr("gradverify.frameworks.jax.tracer.MAPPED", watched)
    fn, *args = CASES[name]
    traced = trace(fn, tuple(jnp.asarray(a) for a in args))
    assert name in watched.seen or name in ELSEWHERE
    assert traced.graph is not None
    nodes = forward(NUMPY, traced.graph, traced.values, "float64")
    want = [np.asarray(w) for w in traced.function(*map(jnp.asarray, traced.values.values()))]
    assert len(traced.graph.outputs) == len(want) > 0
    for o, w in zip(traced.graph.outputs, want):
        assert nodes[o].shape == w.shape
        # Each op of the graph and of JAX errs by some ulps (at most 14 in the table), sums by one per term.
        terms = traced.graph.ops * 16 + max(int(np.prod(n.shape)) for n in traced.graph.nodes)
        scale = np.abs(w[np.isfinite(w)]).max(initial=1.0)
        np.testing.assert_allclose(nodes[o], w, rtol=0, atol=terms * 2.0**-52 * scale)
