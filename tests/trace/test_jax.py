"""What the tracer of JAX makes of the structure around the primitives: pytrees, rules, control flow, randomness."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

from gradverify.core.errors import Unsupported  # noqa: E402
from gradverify.frameworks.jax.tracer import MAX_STEPS, trace  # noqa: E402
from gradverify.frameworks.recognise import trace as trace_any  # noqa: E402
from gradverify.oracle.truth import truth  # noqa: E402
from gradverify.trace import Traced  # noqa: E402

from ..helpers import agrees  # noqa: E402


@pytest.fixture(autouse=True)
def doubles() -> Any:
    with jax.enable_x64(True):
        yield


RNG = np.random.default_rng(3)
XN, WN = RNG.standard_normal((2, 3)), RNG.standard_normal((3, 4))


def x() -> Any:
    return jnp.asarray(XN)


def ops(traced: Traced) -> list[str]:
    assert traced.graph is not None
    return [n.op for n in traced.graph.nodes if hasattr(n, "op")]


def test_a_function_and_its_names() -> None:
    t = trace_any(lambda x, W: jnp.tanh(x @ W).sum(), x(), jnp.asarray(WN))
    assert t.framework == "jax"
    assert ops(t) == ["matmul", "tanh", "sum"]
    assert [a.name for a in t.arguments] == ["x", "W"]
    assert t.wrt == ("x", "W")
    agrees(t, np.tanh(XN @ WN).sum())


def test_pytrees_keywords_and_plain_numbers() -> None:
    def f(params: Any, *rest: Any, scale: float = 1.0, **more: Any) -> Any:
        return {"y": params["w"][0] * rest[0] * scale + more["b"], "n": 3}

    t = trace(f, ({"w": [x()]}, x()), {"scale": 2.0, "b": x()})
    assert [a.name for a in t.arguments] == ["params['w'][0]", "rest[0]", "b"]
    assert [(o.path, o.position) for o in t.outputs] == [("['n']", None), ("['y']", 0)]
    agrees(t, XN * XN * 2 + XN)


def test_a_callable_pytree_has_parameters() -> None:
    f = jax.tree_util.Partial(lambda w, x: x @ w, jnp.asarray(WN))
    t = trace(f, (x(),))
    assert [(a.role, a.shape) for a in t.arguments] == [("parameter", (3, 4)), ("argument", (2, 3))]
    agrees(t, XN @ WN)


def test_closed_over_arrays_are_held() -> None:
    weights = jnp.asarray(RNG.standard_normal((3, 20)))
    t = trace(lambda x: x @ weights, (x(),))
    assert [(a.name, a.role) for a in t.arguments] == [("x", "argument"), ("weights", "captured")]
    assert t.wrt == ("x",)


def test_integers_masks_empty_and_0d() -> None:
    t = trace(
        lambda x, i, m: (x[i] * m, x[:, :0], x.sum()), (x(), jnp.array([1, 0, 1]), jnp.array([True, False, True]))
    )
    assert [a.kind for a in t.arguments] == ["float", "int", "bool"]
    agrees(t, XN[[1, 0, 1]] * [1, 0, 1], XN[:, :0], XN.sum())


# ---- rules and transformations --------------------------------------------------------------------------------------


@jax.custom_vjp
def scaled(x: Any) -> Any:
    return jnp.sin(x)


scaled.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * 7,))


@jax.custom_jvp
def shifted(x: Any) -> Any:
    return jnp.cos(x)


shifted.defjvp(lambda primals, tangents: (jnp.cos(primals[0]), tangents[0] * 7))


def test_custom_rules_are_seen_through() -> None:
    """Their forward is the definition; wrong rules must not matter."""
    t = trace(lambda x: scaled(x) + shifted(x), (x(),))
    assert ops(t) == ["sin", "cos", "add"]
    agrees(t, np.sin(XN) + np.cos(XN))


def with_rule(kind: str, fn: Any) -> Any:
    """`fn` with a user's derivative."""
    if kind == "vjp":
        custom = jax.custom_vjp(fn)
        custom.defvjp(lambda x: (fn(x), x), lambda x, g: (g * 7,))
        return custom
    custom = jax.custom_jvp(fn)
    if kind == "jvp":
        custom.defjvp(lambda primals, tangents: (fn(*primals), tangents[0] * 7))
    else:
        custom.defjvps(lambda t, y, x: t * 7)
    return custom


@pytest.mark.parametrize("kind", ["vjp", "jvp", "jvps"])
@pytest.mark.parametrize("fn", [jnp.tanh, jax.nn.sigmoid, jax.nn.softplus, jax.scipy.special.erf])
def test_a_users_rule_of_a_function_of_jax_is_custom(kind: str, fn: Any) -> None:
    """Then its branches are looked for, and a declared weakness of JAX's does not excuse it."""
    assert trace(with_rule(kind, fn), (x(),)).custom


@pytest.mark.parametrize(
    "fn", [jax.nn.relu, jax.nn.softplus, jax.nn.logsumexp, jax.nn.silu, jnp.sinc, jax.scipy.special.xlogy]
)
def test_rules_of_jax_are_not(fn: Any) -> None:
    assert not trace(fn, (x(), x()) if fn is jax.scipy.special.xlogy else (x(),)).custom


@pytest.mark.parametrize(
    "transform", [jax.jit, jax.grad, jax.vmap, jax.checkpoint, lambda f: lambda x: jax.jvp(f, (x,), (x,))[1]]
)
def test_transformations(transform: Any) -> None:
    f = transform(lambda x: (jnp.sin(x) * x).sum())
    agrees(trace(f, (x(),)), f(x()))


# ---- control flow ---------------------------------------------------------------------------------------------------


def test_cond_takes_the_branch_of_this_point() -> None:
    f = lambda x: jax.lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x)
    t = trace(f, (x(),))
    assert any("branch" in n for n in t.notes)
    agrees(t, f(x()))


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_in_both_directions(reverse: bool) -> None:
    f = lambda x: jax.lax.scan(lambda c, a: (c + a, c * a), jnp.ones(3), x, reverse=reverse)
    agrees(trace(f, (x(),)), *f(x()))


def test_loops() -> None:
    f = lambda x: jax.lax.fori_loop(0, 3, lambda i, c: c * x[i % 2], x[0])
    agrees(trace(f, (x(),)), f(x()))
    g = lambda x: jax.lax.while_loop(lambda c: c.sum() < 50, lambda c: c * c + 1, x)
    t = trace(g, (x(),))
    assert any("length of a loop" in n for n in t.notes)
    agrees(t, g(x()))


def test_a_loop_over_a_batch() -> None:
    """Each entry stops when it is done, the others go on."""
    f = jax.vmap(lambda v: jax.lax.while_loop(lambda c: c[0] < 5.0, lambda c: (c[0] * 2.0, c[1] * v), (jnp.abs(v), v)))
    t = trace(f, (jnp.array([0.7, 3.0, 9.0]),))
    agrees(t, *f(jnp.array([0.7, 3.0, 9.0])))


def test_loops_that_are_too_long() -> None:
    with pytest.raises(Unsupported, match=f"a scan of {MAX_STEPS + 1} steps"):
        trace(lambda x: jax.lax.scan(lambda c, _: (c * 0.5, None), x, None, length=MAX_STEPS + 1)[0], (x(),))
    with pytest.raises(Unsupported, match=f"a while loop of more than {MAX_STEPS} trips"):
        trace(lambda x: jax.lax.while_loop(lambda c: c[0] < 1e6, lambda c: (c[0] + 1, c[1]), (0, x))[1], (x(),))


def test_a_python_branch_on_values_is_refused() -> None:
    with pytest.raises(Unsupported, match="branches in Python on the value of an array"):
        trace(lambda x: x if x.sum() > 0 else -x, (x(),))


# ---- values ---------------------------------------------------------------------------------------------------------


def test_randomness_is_held() -> None:
    f = lambda x, key: x * jax.random.bernoulli(key, 0.5, x.shape) + jax.random.normal(jax.random.key(1), x.shape)
    key = jax.random.PRNGKey(0)
    t = trace(f, (x(), key))
    assert t.wrt == ("x",)
    agrees(t, f(x(), key))


def test_linear_algebra_and_its_derivative() -> None:
    a = XN @ XN.T + 2 * np.eye(2)
    f = lambda a, b: jnp.linalg.solve(a, b).sum() + jnp.linalg.slogdet(a)[1] + jnp.linalg.inv(a)[0, 0]
    t = trace(f, (jnp.asarray(a), x()))
    agrees(t, f(a, XN))
    assert t.graph is not None
    found = truth(t.graph, t.values, (np.ones(()),), ("a", "b"), "float64")
    want = jax.grad(f, (0, 1))(jnp.asarray(a), x())
    for name, w in zip("ab", want):
        np.testing.assert_allclose(found.gradients[name].hi, np.asarray(w), rtol=1e-12, atol=1e-13)


def test_eigenvectors_to_many_digits() -> None:
    """The refinement is differentiated by the oracle: eigenvectors at 256 bits, from JAX's 53."""
    s = XN.T @ XN + np.diag([1.0, 2.0, 4.0])
    f = lambda a: jnp.linalg.eigh((a + a.T) / 2)[1][:, 0]
    t = trace(f, (jnp.asarray(s),))
    assert t.graph is not None
    g = np.array([1.0, -0.5, 0.25])
    found = truth(t.graph, t.values, (g,), ("a",), "float64")
    assert found.method == "confirmed"
    (want,) = jax.vjp(f, jnp.asarray(s))[1](jnp.asarray(g))
    np.testing.assert_allclose(found.gradients["a"].hi, np.asarray(want), rtol=1e-12, atol=1e-14)


def test_rounding_of_large_inputs_is_no_other_function() -> None:
    """The deviation of equal numbers is 0 or, next to them, as good as the numbers are: u of 1e8."""
    assert trace(jnp.std, (jnp.full(3, 1e8),)).graph is not None


# ---- refusals -------------------------------------------------------------------------------------------------------


def test_what_has_no_counterpart_is_named() -> None:
    with pytest.raises(Unsupported, match="the JAX primitive nextafter has no counterpart"):
        trace(lambda x: jax.lax.nextafter(x, jnp.abs(x)), (x(),))
    with pytest.raises(Unsupported, match="the JAX primitive pure_callback has no counterpart"):
        trace(lambda x: jax.pure_callback(np.sin, x, x), (x(),))
    with pytest.raises(Unsupported, match="complex numbers"):
        trace(lambda x: jnp.sort(x * 1j).real, (x(),))
    t = trace(lambda x: jax.lax.nextafter(x, jnp.abs(x)), (x(),), strict=False)
    assert t.graph is None
    assert len(t.opaque) == 1


def test_refused_inputs_and_outputs() -> None:
    with pytest.raises(Unsupported, match="returns no floating-point array"):
        trace(lambda x: jnp.argmax(x), (x(),))
    with pytest.raises(ZeroDivisionError):
        trace(lambda x: x * (1 / 0), (x(),))


def test_a_function_that_is_not_reproducible_is_refused() -> None:
    count = iter(range(100))
    with pytest.raises(Unsupported, match="the recorded operations are not the function"):
        trace(lambda x: x * next(count), (x(),))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_lower_dtypes_and_casts(dtype: str) -> None:
    t = trace(lambda x: jax.nn.softmax(x).astype(jnp.float32) * 2, (x().astype(dtype),))
    assert t.dtype == dtype
    t = trace(lambda x: x.astype(dtype) * 2, (x(),))
    assert t.notes == (f"a cast from float64 to {dtype} inside the function is the identity to the definition",)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: jax.lax.conv_general_dilated(x, jnp.ones((3, 2, 1, 2)), (1, 1), "VALID"),
        lambda x: jnp.einsum("abcd,de->abce", x, jnp.ones((4, 2))),
        lambda x: jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 1, 1, 2), (1, 1, 1, 1), "VALID"),
        lambda x: (jnp.cumsum(x, axis=2), x.sum()),
    ],
)
def test_what_has_no_entries_is_no_obstacle(f):
    assert trace(f, (jnp.ones((1, 2, 0, 4)),)).graph is not None
