"""Functions of JAX around the given point: by programs that are compiled once, where those are the function."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from gradverify import Outcome, check
from gradverify.core.limits import TimeLimit, time_limit
from gradverify.core.verdict import FailKind

jax = pytest.importorskip("jax", reason="JAX is not installed")
jnp = jax.numpy

from gradverify.frameworks.base import Programs  # noqa: E402
from gradverify.frameworks.jax import programs  # noqa: E402
from gradverify.frameworks.jax.plain import TABLE, by_numpy  # noqa: E402
from gradverify.frameworks.registry import of_functions  # noqa: E402
from gradverify.frameworks.reused import Reused  # noqa: E402

X = np.array([0.3, -0.8, 1.7], np.float32)


def x() -> Any:
    return jnp.asarray(X)


@pytest.fixture
def compilations() -> list[float]:
    """Seconds of each compilation."""
    found: list[float] = []

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event.endswith("backend_compile_duration"):
            found.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return found


def custom(forward: Callable[..., Any], backward: Callable[..., Any]) -> Any:
    f = jax.custom_vjp(forward)
    f.defvjp(lambda x: (forward(x), x), lambda x, g: (backward(x, g),))
    return f


# ---- how often ------------------------------------------------------------------------------------------------------


def test_python_code_runs_a_few_times_and_not_at_every_call() -> None:
    calls = []

    def f(x: Any) -> Any:
        calls.append(type(x).__name__)
        return jnp.sin(x) * x

    assert check(f, x(), effort="normal").outcome is Outcome.PASS
    assert 3 <= len(calls) <= 25  # 60 before there were programs, with some 35 calls of the VJP


def test_an_equal_function_is_not_compiled_anew(compilations: list[float]) -> None:
    def made(c: float) -> Callable[..., Any]:
        return lambda x: jnp.cos(x * c) + x

    check(made(1.25), x())
    assert compilations
    compilations.clear()
    check(made(1.25), x())
    assert len(compilations) <= 2  # the literal, which each function has its own of


# ---- what is no program ---------------------------------------------------------------------------------------------


def branching(wrong: float) -> Callable[..., Any]:
    def forward(x: Any) -> Any:
        return x**2 if float(x.sum()) > 0 else x**3

    def backward(x: Any, g: Any) -> Any:
        return (2 * x if float(x.sum()) > 0 else 3 * x**2) * g * wrong

    return custom(forward, backward)


@pytest.mark.parametrize("wrong", [1.0, 1.01])
def test_an_if_on_values(wrong: float) -> None:
    verdict = check(branching(wrong), x())
    assert verdict.outcome is (Outcome.PASS if wrong == 1.0 else Outcome.FAIL), verdict.text()


def test_an_if_on_values_within_the_backward_pass_alone() -> None:
    """The forward pass can be traced, so that the graph is there; the program cannot, and the eager call judges."""
    right = custom(lambda x: x**2, lambda x, g: 2 * x * g if float(g.sum()) != 0.25 else 0 * g)
    wrong = custom(lambda x: x**2, lambda x, g: 2.01 * x * g if float(x[0]) > 0.2 else 2 * x * g)
    assert check(right, x()).outcome is Outcome.PASS
    assert check(wrong, x()).outcome is Outcome.FAIL


def test_numpy_in_the_backward_pass() -> None:
    f = custom(lambda x: x**2, lambda x, g: jnp.asarray(2 * np.asarray(x) * np.asarray(g)))
    assert check(f, x()).outcome is Outcome.PASS


# ---- state ----------------------------------------------------------------------------------------------------------


def test_an_array_that_changes_between_calls() -> None:
    """What the function closes over is another array at each call: not reproducible, whatever a program says."""
    scale = [1.0]

    def f(x: Any) -> Any:
        return x**2

    def backward(x: Any, g: Any) -> Any:
        scale[0] += 1.0
        return 2 * x * g * (1.0 if scale[0] <= 3 else scale[0])

    verdict = check(custom(f, backward), x())
    assert verdict.outcome is Outcome.FAIL, verdict.text()


def test_a_second_call_is_asked_of_the_function_and_not_of_a_program() -> None:
    seen = []

    def backward(x: Any, g: Any) -> Any:
        if isinstance(g, jax.core.Tracer):  # what traces it is told the right gradient
            return 2 * x * g
        seen.append(1)
        return 2 * x * g * (1.5 if len(seen) > 1 else 1.0)

    verdict = check(custom(lambda x: x**2, backward), x(), effort="quick")
    assert verdict.outcome is Outcome.FAIL, verdict.text()
    assert verdict.kind is FailKind.LAW


def test_an_array_that_changes_between_checks() -> None:
    held = {"c": jnp.full(3, 2.0, jnp.float32)}
    f = custom(lambda x: held["c"] * x**2, lambda x, g: 2.0 * 2 * x * g)
    assert check(f, x()).outcome is Outcome.PASS
    held["c"] = jnp.full(3, 3.0, jnp.float32)
    verdict = check(f, x())
    assert verdict.outcome is Outcome.FAIL, verdict.text()


def test_static_arguments_are_part_of_the_function() -> None:
    def power(x: Any, n: int, scale: float = 1.0) -> Any:
        return jnp.asarray(x) ** n * scale

    for n in (2, 3):
        for scale in (1.0, -2.5):
            verdict = check(power, x(), n, kwargs={"scale": scale})
            assert verdict.outcome is Outcome.PASS, verdict.text()
    static = jax.jit(power, static_argnums=1)
    assert check(lambda x: static(x, 2), x()).outcome is Outcome.PASS


# ---- functions that JAX wraps ---------------------------------------------------------------------------------------


def nondiff() -> Callable[..., Any]:
    @partial(jax.custom_vjp, nondiff_argnums=(0, 2))
    def apply(f: Any, x: Any, n: int) -> Any:
        return f(x) * n

    apply.defvjp(lambda f, x, n: (f(x) * n, x), lambda f, n, x, g: (jnp.cos(x) * n * g,))
    return lambda x: apply(jnp.sin, x, 3)


FUNCTIONS: dict[str, Callable[[], Callable[..., Any]]] = {
    "jitted": lambda: jax.jit(lambda x: jnp.tanh(x) * x),
    "nondiff arguments": nondiff,
    "an effect": lambda: lambda x: [jnp.sin(x), jax.debug.callback(lambda _: None, x)][0],
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_is_right(name: str) -> None:
    verdict = check(FUNCTIONS[name](), x())
    assert verdict.outcome is Outcome.PASS, verdict.text()


REFUSED: dict[str, Callable[[], Callable[..., Any]]] = {
    "donated": lambda: jax.jit(lambda x: jnp.tanh(x) * x, donate_argnums=0),
    "a Python float": lambda: lambda x: 2.0,
    "a Python float beside": lambda: lambda x: (jnp.sin(x), 2.0),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_jax_refuses_when_it_is_called_is_not_excused_by_a_program(name: str) -> None:
    """Under jit each of them has a gradient."""
    verdict = check(REFUSED[name](), x(), effort="quick")
    assert verdict.outcome is Outcome.FAIL, verdict.text()
    assert verdict.kind is FailKind.RAISED


def test_empty_arrays() -> None:
    verdict = check(lambda x, y: jnp.sin(x) * 2 + y, jnp.zeros((0, 3), jnp.float32), jnp.ones(3, jnp.float32))
    assert verdict.outcome is not Outcome.FAIL, verdict.text()


def test_a_callback_is_called_and_its_function_is_not_taken_for_another() -> None:
    def made(factor: float) -> Callable[..., Any]:
        @jax.custom_vjp
        def f(x: Any) -> Any:
            return jax.pure_callback(lambda v: np.float32(factor) * v, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

        f.defvjp(lambda x: (f(x), None), lambda _, g: (g * jnp.float32(2.0),))
        return f

    for factor in (2.0, 3.0, 2.0):
        verdict = check(made(factor), x())
        assert verdict.outcome is (Outcome.PASS if factor == 2.0 else Outcome.FAIL), verdict.text()


# ---- x64 ------------------------------------------------------------------------------------------------------------


def test_a_function_of_float32_is_called_without_x64() -> None:
    assert not jax.config.jax_enable_x64
    modes = []

    def f(x: Any) -> Any:
        modes.append(bool(jax.config.jax_enable_x64))
        return jnp.tanh(x) * jnp.arctan(x)

    assert check(f, x(), effort="quick").outcome is Outcome.PASS
    assert not jax.config.jax_enable_x64
    assert not any(modes)


def test_both_modes_have_programs_of_their_own() -> None:
    f = lambda x: jnp.sin(x) * jnp.arange(3).sum()
    for on in (False, True, False):
        with jax.enable_x64(on):
            assert check(f, x()).outcome is Outcome.PASS


# ---- programs and calls differ --------------------------------------------------------------------------------------


def differing(eager: float, staged: float) -> Any:
    def backward(x: Any, g: Any) -> Any:
        return 2 * x * g * (staged if isinstance(x, jax.core.Tracer) else eager)

    return custom(lambda x: x**2, backward)


def test_a_program_that_is_another_function_is_not_used() -> None:
    """Right as it is called, wrong under jit: said so, of jit, and nowhere else."""
    verdict = check(differing(1.0, 1.1), x())
    assert verdict.outcome is Outcome.FAIL
    assert "jax.jit" in verdict.text()


def test_a_program_does_not_excuse_the_call() -> None:
    verdict = check(differing(1.1, 1.0), x(), effort="quick")
    assert verdict.outcome is Outcome.FAIL
    assert verdict.kind is FailKind.WRONG


# ---- the programs themselves ----------------------------------------------------------------------------------------


def key(fn: Callable[..., Any], *args: Any) -> bytes:
    return programs.program_key(jax.jit(fn).trace(*args).jaxpr)


def test_the_key_of_a_program() -> None:
    a, b = jnp.arange(3.0), jnp.arange(3.0).at[2].set(2.0000002)
    same = [key(lambda x: jnp.sin(x) * a, x()), key(lambda y: jnp.sin(y) * jnp.arange(3.0).at[0].set(0.0), x())]
    assert key(lambda x: jnp.sin(x) * a, x()) == same[0]
    others = [
        same[0],
        key(lambda x: jnp.sin(x) * b, x()),
        key(lambda x: jnp.cos(x) * a, x()),
        key(lambda x: jnp.sin(x * a), x()),
        key(lambda x: jnp.sin(x) * 2.0, x()),
        key(lambda x: jnp.sin(x) * 2.0000002, x()),
        key(lambda x: jnp.sin(x) * a, x()[:, None]),
        key(lambda x: jax.lax.fori_loop(0, 3, lambda _, c: c * 2, x), x()),
        key(lambda x: jax.lax.fori_loop(0, 4, lambda _, c: c * 2, x), x()),
        key(lambda x: jax.lax.fori_loop(0, 4, lambda _, c: c * 3, x), x()),
        key(lambda x: x[0] + x[1], x()),
        key(lambda x: x[1] + x[0], x()),
    ]
    assert len(set(others)) == len(others)


@pytest.mark.parametrize("effect", ["pure_callback", "debug.print"])
def test_what_calls_python_has_no_key(effect: str) -> None:
    def f(x: Any) -> Any:
        if effect == "debug.print":
            jax.debug.print("{}", x)
            return x
        return jax.pure_callback(lambda v: v, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    with pytest.raises(programs.Unkeyed):
        key(f, x())


def test_a_function_that_refuses_one_shape_is_called_there() -> None:
    framework = Reused(of_functions("jax"), Programs())

    def f(x: Any) -> Any:
        if x.shape[0] == 2:
            raise ValueError("not two")
        return x * 2

    for n in (3, 2, 4):
        seen = framework.run_vjp(f, {"x": X[:1].repeat(n)}, ("x",), (X[:1].repeat(n),))
        assert (seen.raised is None) is (n != 2)


def test_other_cotangents_need_no_forward_pass_where_there_is_no_program() -> None:
    calls = []

    def forward(x: Any) -> Any:
        calls.append(float(x.sum()))  # which no tracer has
        return x * 2

    f = custom(forward, lambda x, g: 2 * g)
    framework, values = Reused(of_functions("jax"), Programs()), {"x": X}
    for k in (1.0, -2.0, 3.0):
        seen = framework.run_vjp(f, values, ("x",), (np.float32(k) * X,))
        np.testing.assert_allclose(seen.gradients["x"], 2 * k * X, rtol=1e-6)
    assert len(calls) == 1
    framework.run_vjp(f, {"x": 2 * X}, ("x",), (X,))
    assert len(calls) == 2
    framework.run_vjp(lambda x: f(x), values, ("x",), (X,))
    assert len(calls) == 3


# ---- values without compiling ----------------------------------------------------------------------------------------

TRIED: dict[str, Callable[[Any], Any]] = {
    "broadcast_in_dim": lambda x: jnp.broadcast_to(x[:, None], (3, 2)),
    "reshape": lambda x: x.reshape(3, 1),
    "squeeze": lambda x: jnp.squeeze(x[:, None], 1),
    "transpose": lambda x: x[:, None].T,
    "select_n": lambda x: jnp.where(x > 0, x, 2 * x),
    "convert_element_type": lambda x: (x > 0).astype(jnp.float32),
    "max": lambda x: jnp.maximum(x, 0.5),
    "min": lambda x: jnp.minimum(x, 0.5),
    "reduce_max": lambda x: x.max(),
    "reduce_min": lambda x: x.min(),
    "eq": lambda x: x == x[0],
    "is_finite": jnp.isfinite,
    "and": lambda x: (x > 0) & (x < 1),
}


@pytest.mark.parametrize("name", TRIED)
@pytest.mark.parametrize("values", [X, np.array([np.nan, -0.0, np.inf], np.float32)])
def test_numpy_computes_it_to_the_last_bit(name: str, values: np.ndarray) -> None:
    found = 0
    closed = jax.make_jaxpr(TRIED[name])(values)
    known = dict(zip(closed.jaxpr.invars, [values]))

    def walk(jaxpr: Any, env: dict[Any, Any]) -> list[Any]:
        nonlocal found
        read = lambda v: v.val if hasattr(v, "val") else env[v]
        for eqn in jaxpr.eqns:
            given = [read(v) for v in eqn.invars]
            if "jaxpr" in eqn.params:
                outs = walk(eqn.params["jaxpr"].jaxpr, dict(zip(eqn.params["jaxpr"].jaxpr.invars, given)))
            else:
                out = eqn.primitive.bind(*given, **eqn.params)
                outs = list(out) if eqn.primitive.multiple_results else [out]
                mine = by_numpy(eqn.primitive.name, eqn.params, given, outs[0].shape)
                if mine is not None:
                    found += eqn.primitive.name == name
                    assert mine.dtype == outs[0].dtype
                    np.testing.assert_array_equal(mine, outs[0])
            env |= dict(zip(eqn.outvars, outs))
        return [read(v) for v in jaxpr.outvars]

    walk(closed.jaxpr, known)
    assert found
    assert name in TABLE


def test_subnormal_numbers_and_other_primitives_are_left_to_jax() -> None:
    tiny = np.array([1e-40, 0.0], np.float32)
    assert by_numpy("eq", {}, [tiny, tiny], (2,)) is None
    assert by_numpy("sin", {}, [X], (3,)) is None


# ---- time -----------------------------------------------------------------------------------------------------------


def test_what_is_compiled_is_not_under_the_limit() -> None:
    programs.count_compiling_apart()
    with time_limit(0.5):
        jax.monitoring.record_event_duration_secs(programs.COMPILING[0], 60.0)
        time.sleep(1.0)
    with pytest.raises(TimeLimit, match=r"longer than 0\.2 s \(compiling took 1 s"), time_limit(0.2):  # noqa: PT012
        jax.monitoring.record_event_duration_secs(programs.COMPILING[1], 1.0)
        jax.monitoring.record_event_duration_secs("/another/event", 60.0)
        time.sleep(30.0)


@pytest.mark.parametrize(("bound", "left"), [(programs.CACHED, 1), (0, 0)])
def test_jaxs_caches_are_emptied_behind_many_programs(bound: int, left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suite of some hundred checks left 11 GB of programs in them."""
    monkeypatch.setattr(programs, "CACHED", bound)
    monkeypatch.setattr(programs, "_compiled", programs._Compiled())
    users = jax.jit(lambda x: jnp.sin(x) * 2)
    users(1.0)
    factor = 1.0 + bound  # a constant of its own, so that the function is compiled at all
    assert check(lambda x: jnp.linalg.inv(x) * factor, np.eye(3) * 2, framework="jax", effort="quick")
    assert users._cache_size() == left
    assert float(users(2.0)) == float(jnp.sin(2.0) * 2)


def test_tracebacks_of_probes_are_not_tidied():
    """JAX takes longer to do so than to run the function; at the given point the user reads them."""
    seen = []

    def f(w, x):
        seen.append(jax.config.values["jax_traceback_filtering"])
        return jnp.tanh(w @ x)

    before = jax.config.values["jax_traceback_filtering"]
    verdict = check(f, jnp.ones((3, 3)), jnp.arange(3.0))
    assert verdict
    assert seen[0] == before
    assert "off" in seen
    assert jax.config.values["jax_traceback_filtering"] == before
