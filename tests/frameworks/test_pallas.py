# ruff: noqa: E402 - imports after it was found out whether JAX is there
"""Pallas kernels under their interpreter: recorded as graphs, judged without a reference, their faults in memory named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed")
pl = pytest.importorskip("jax.experimental.pallas", reason="this JAX has no Pallas")

import jax.numpy as jnp
from jax.experimental.pallas import tpu as pltpu
from jax.experimental.pallas import triton as plgpu

import gradverify
from bench.pallas.catalogue import kernels
from gradverify.core.errors import Unsupported
from gradverify.frameworks.jax.tracer import trace
from gradverify.namespaces.dtypes import is_float, to_float64
from gradverify.namespaces.numpy import NUMPY
from gradverify.namespaces.run import forward

X = np.linspace(-1.0, 2.0, 24, dtype=np.float32).reshape(4, 6)
Rows = Callable[..., Any]


def launch(kernel: Any, shape: Any = (4, 6), grid: Any = (), ins: Any = None, out: Any = None, **options: Any) -> Rows:
    """The kernel's call as a function of arrays."""
    given: dict[str, Any] = {"out_specs": out} if out is not None else {}
    given |= {"in_specs": ins} if ins is not None else {}
    like = jax.ShapeDtypeStruct(shape, jnp.float32)
    return lambda *xs: pl.pallas_call(kernel, out_shape=like, grid=grid, interpret=True, **given, **options)(*xs)


def rows(n: int, width: int = 6) -> Any:
    return pl.BlockSpec((n, width), lambda i: (i, 0))


def in_doubles(found: Any) -> np.ndarray:
    """The result of the traced graph."""
    assert found.graph is not None
    point = {n: NUMPY.asarray(to_float64(v)) if is_float(v) else v for n, v in found.values.items()}
    return forward(NUMPY, found.graph, point, "float64")[found.graph.outputs[0]]


def squares(x: Any, out: Any) -> None:
    out[...] = x[...] * x[...]


def accumulated(x: Any, out: Any) -> None:
    @pl.when(pl.program_id(0) == 0)
    def _() -> None:
        out[...] = jnp.zeros_like(out)

    out[...] += jnp.exp(x[...])


def by_number(x: Any, out: Any) -> None:
    out[...] = x[...] * (pl.program_id(0) + 1.0) / pl.num_programs(0)


def product(x: Any, out: Any) -> None:
    out[...] = jnp.dot(x[...], x[...].T)


def in_place(x: Any, out: Any) -> None:
    out[0, :] = x[1, :] * x[0, 2]


def masked(x: Any, out: Any) -> None:
    at = jnp.arange(8)
    row = plgpu.load(x.at[0, at], mask=at < 6, other=1.0)
    plgpu.store(out.at[0, at], row * row, mask=at < 6)


def gathered(x: Any, out: Any) -> None:
    out[...] = x[(jnp.arange(4) * 3) % 4, :]


def looped(x: Any, out: Any) -> None:
    def step(k: Any, total: Any) -> Any:
        return total + x[k, :] * k

    out[0, :] = jax.lax.fori_loop(0, 4, step, jnp.zeros(6))


def in_scratch(x: Any, out: Any, kept: Any) -> None:
    kept[...] = jnp.tanh(x[...])
    out[...] = kept[...] * kept[...]


D = X.astype(np.float64)
LAUNCHES: dict[str, tuple[Rows, np.ndarray]] = {
    "blocks": (launch(squares, grid=(2,), ins=[rows(2)], out=rows(2)), D * D),
    "a tail": (launch(squares, grid=(2,), ins=[rows(3)], out=rows(3)), D * D),
    "squeezed": (launch(squares, grid=(4,), ins=[rows(None)], out=rows(None)), D * D),
    "accumulated": (
        launch(accumulated, (1, 6), (4,), [rows(1)], pl.BlockSpec((1, 6), lambda i: (0, 0))),
        np.exp(D).sum(0, keepdims=True),
    ),
    "by number": (launch(by_number, grid=(4,), ins=[rows(1)], out=rows(1)), D * np.arange(1, 5)[:, None] / 4),
    "a product": (launch(product, (4, 4)), D @ D.T),
    "in place": (launch(in_place, input_output_aliases={0: 0}), np.vstack([D[1] * D[0, 2], D[1:]])),
    "masked": (launch(masked, grid=(4,), ins=[rows(1, 8)], out=rows(1, 8)), D * D),
    "gathered": (launch(gathered), D[[0, 3, 2, 1]]),
    "looped": (launch(looped, (1, 6)), (D * np.arange(4)[:, None]).sum(0, keepdims=True)),
    "scratch": (launch(in_scratch, scratch_shapes=[pltpu.VMEM((4, 6), jnp.float32)]), np.tanh(D) ** 2),
    "mapped": (jax.vmap(launch(squares, (6,))), D * D),
}  # fmt: skip


@pytest.mark.parametrize("name", LAUNCHES)
def test_a_launch_is_a_graph(name: str) -> None:
    """In doubles the graph is what NumPy computes: no rounding of the kernel's is left, and no branch depends on values."""
    function, want = LAUNCHES[name]
    found = trace(function, (jnp.asarray(X),))
    assert not found.faults
    assert not found.branches
    np.testing.assert_allclose(in_doubles(found), want, rtol=1e-12, atol=1e-14)


def test_formats_are_those_of_the_kernel() -> None:
    def narrowed(x: Any, out: Any) -> None:
        out[...] = (x[...].astype(jnp.bfloat16) * 3).astype(jnp.float32)

    assert trace(launch(narrowed), (jnp.asarray(X),)).formats == {"float32", "bfloat16"}


def test_scalars_that_are_read_first_choose_blocks() -> None:
    chosen = pltpu.PrefetchScalarGridSpec(
        num_scalar_prefetch=1,
        grid=(3,),
        in_specs=[pl.BlockSpec((1, 6), lambda i, which: (which[i], 0))],
        out_specs=pl.BlockSpec((1, 6), lambda i, which: (i, 0)),
    )

    def scaled(which: Any, x: Any, out: Any) -> None:
        out[...] = x[...] * which[pl.program_id(0)]

    which = np.array([3, 1, 3], dtype=np.int32)
    like = jax.ShapeDtypeStruct((3, 6), jnp.float32)
    run = lambda x: pl.pallas_call(scaled, out_shape=like, grid_spec=chosen, interpret=True)(which, x)
    np.testing.assert_allclose(in_doubles(trace(run, (jnp.asarray(X),))), D[which] * which[:, None], rtol=1e-12)


# ---- faults ---------------------------------------------------------------------------------------------------------


def summed(x: Any, out: Any) -> None:
    out[...] = jnp.sum(x[...], axis=0, keepdims=True)


def shifted(x: Any, out: Any) -> None:
    at = pl.ds(pl.program_id(0) * 2, 2)
    out[at, :] = x[at, :]


def unfilled(x: Any, out: Any) -> None:
    at = jnp.arange(6)
    out[0, :] = plgpu.load(x.at[0, at], mask=at < 5)


def never_zeroed(x: Any, out: Any) -> None:
    out[...] += x[...]


ONE = pl.BlockSpec((1, 6), lambda i: (0, 0))
FAULTS: dict[str, tuple[Rows, str]] = {
    "a tail that counts": (
        launch(summed, (1, 6), (1,), [rows(5)], ONE), "after it read the tail of a block of x beyond its end"
    ),
    "beyond the block": (launch(shifted, grid=(3,)), "reads 12 elements of x beyond the end of its block"),
    "beyond the grid": (
        launch(squares, grid=(5,), ins=[rows(1)], out=rows(1)), "is given block (4, 0) of x, which lies beyond its end"
    ),
    "no other": (launch(unfilled, (1, 6)), "that the mask of the load leaves out, and no other= fills"),
    "not zeroed": (launch(never_zeroed), "after it read memory of out that nobody wrote"),
    "not written": (launch(in_place), "18 of 24 entries of the result are never written"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named(name: str) -> None:
    function, message = FAULTS[name]
    found = trace(function, (jnp.asarray(X),), strict=False)
    assert any(message in f for f in found.faults), found.faults


def test_what_nobody_wrote_may_be_cut_off() -> None:
    found = trace(lambda x: launch(in_place)(x)[0], (jnp.asarray(X),))
    assert not found.faults
    np.testing.assert_allclose(in_doubles(found), D[1] * D[0, 2], rtol=1e-12)


def last_wins(x: Any, out: Any) -> None:
    out[...] = x[...]


def test_instances_that_write_one_place_are_a_race_on_a_gpu_alone() -> None:
    found = trace(launch(last_wins, (1, 6), (4,), [rows(1)], ONE), (jnp.asarray(X),))
    assert not found.faults
    assert any("a race where they run side by side" in n for n in found.notes)
    found = trace(
        launch(last_wins, (1, 6), (4,), [rows(1)], ONE, compiler_params=plgpu.CompilerParams(num_warps=4)),
        (jnp.asarray(X),), strict=False,
    )  # fmt: skip
    assert any(f.endswith("a race") for f in found.faults)


def test_a_grid_that_depends_on_values_is_refused() -> None:
    def run(x: Any) -> Any:
        n = jnp.int32(4)
        return launch(squares, grid=(n,), ins=[rows(1)], out=rows(1))(x)

    with pytest.raises(Unsupported, match="grid depends on values"):
        trace(jax.jit(run), (jnp.asarray(X),))


# ---- verdicts -------------------------------------------------------------------------------------------------------


def test_a_right_kernel_passes_by_its_formula() -> None:
    kernel = next(k for k in kernels() if k.name == "softmax")
    verdict = gradverify.check(kernel.function(), *kernel.point("bfloat16"), effort="quick")
    assert verdict.outcome is gradverify.Outcome.PASS
    assert verdict.formula is not None
    assert verdict.formula.power < 1e-14


@pytest.mark.parametrize(("name", "about", "says"), [
    ("rms_norm", "dw is not set to zero first", "memory of dw_ref that nobody wrote"),
    ("rope", "the second half of the gradient is not written", "18 of 36 entries of the result are never written"),
    pytest.param("rms_norm", "rows beyond the end are added to dw", "the tail of a block", marks=pytest.mark.slow),
    pytest.param("softmax", "the inner product has the wrong sign", "is off by", marks=pytest.mark.slow),
])  # fmt: skip
def test_a_mutant_is_caught_and_named(name: str, about: str, says: str) -> None:
    kernel = next(k for k in kernels() if k.name == name)
    mutant = next(m for m in kernel.mutants if m.about == about)
    verdict = gradverify.check(kernel.function(mutant), *kernel.point("bfloat16"), effort="quick")
    assert verdict.outcome is gradverify.Outcome.FAIL
    assert says in verdict.message
