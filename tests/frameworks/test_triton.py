# ruff: noqa: E402 - imports after it was found out whether Triton is there
"""Triton kernels under their interpreter: recorded as graphs, judged without a reference, their faults in memory named."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("triton", reason="Triton is not installed")
torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import triton
import triton.language as tl
from triton.runtime import interpreter as ti

if not triton.knobs.runtime.interpret:
    pytest.skip("TRITON_INTERPRET was not set before Triton was imported", allow_module_level=True)

import gradverify
from bench.triton.catalogue import kernels
from gradverify import Outcome
from gradverify.checker.variations import _other_sizes
from gradverify.core.errors import Unsupported
from gradverify.frameworks.torch.tracer import trace
from gradverify.frameworks.triton.interpreter import floats, mended, rounded
from gradverify.namespaces.dtypes import is_float, to_float64
from gradverify.namespaces.numpy import NUMPY
from gradverify.namespaces.run import forward
from gradverify.trace.value import Launches

from . import triton_kernels as launches

Launch = Callable[[Any], Any]


@pytest.fixture
def x() -> Any:
    return torch.randn(launches.ROWS, launches.COLUMNS, generator=torch.Generator().manual_seed(0)).requires_grad_()


def in_doubles(found: Any) -> np.ndarray:
    """The result of the traced graph."""
    assert found.graph is not None
    point = {n: NUMPY.asarray(to_float64(v)) if is_float(v) else v for n, v in found.values.items()}
    return forward(NUMPY, found.graph, point, "float64")[found.graph.outputs[0]]


# ---- graphs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", launches.LAUNCHES)
def test_a_launch_is_a_graph(name: str, x: Any) -> None:
    """In doubles the graph is what PyTorch computes: no rounding of the kernel's is left."""
    launch, by_torch = launches.LAUNCHES[name]
    found = trace(launch, (x,))
    assert found.graph is not None
    assert not found.faults
    got = in_doubles(found)
    np.testing.assert_allclose(got, by_torch(x.detach().double()).numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kernel", ["masked", "product"])
def test_lanes_beyond_the_end_are_no_entries(kernel: str, x: Any) -> None:
    found = trace(launches.LAUNCHES[kernel][0], (x,))
    assert found.graph is not None
    assert max(int(np.prod(n.shape)) for n in found.graph.nodes) <= x.numel()


def test_formats_are_those_of_the_kernel(x: Any) -> None:
    found = trace(launches.LAUNCHES["rounded"][0], (x,))
    assert found.formats == {"float32", "bfloat16"}
    assert "bfloat16" in found.node_formats.values()


def test_a_tensor_descriptor(x: Any) -> None:
    from triton.tools.tensor_descriptor import TensorDescriptor

    wide = torch.randn(4, 8).requires_grad_()
    found = trace(lambda t: launches_of_descriptors(TensorDescriptor, t), (wide,))
    np.testing.assert_allclose(in_doubles(found), wide.detach().double().numpy() * 2, rtol=1e-12)


@triton.jit
def doubled(source, target):
    target.store([0, 0], source.load([0, 0]) * 2.0)
    target.store([0, 4], source.load([0, 4]) * 2.0)


def launches_of_descriptors(descriptor: Any, t: Any) -> Any:
    y = torch.empty_like(t)
    doubled[(1,)](*(descriptor(a, list(a.shape), list(a.stride()), [4, 4]) for a in (t, y)))
    return y


@pytest.mark.parametrize("name", launches.REFUSED)
def test_what_has_no_counterpart_is_refused(name: str, x: Any) -> None:
    with pytest.raises(Unsupported, match="bits of floating-point numbers"):
        trace(launches.REFUSED[name], (x,))


# ---- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", launches.FAULTS)
def test_a_fault_is_named(name: str, x: Any) -> None:
    launch, said = launches.FAULTS[name]
    faults = "; ".join(trace(launch, (x,)).faults)
    assert said in faults
    assert name in faults or "never written" in said
    assert "triton_kernels.py:" in faults or "never written" in said


@pytest.mark.parametrize("name", launches.LAUNCHES)
def test_a_right_kernel_has_no_fault(name: str) -> None:
    """At the sizes around the blocks."""
    for shape in [(3, 4), (1, 1), (3, 3), (2, 7)]:
        t = torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_()
        assert not trace(launches.LAUNCHES[name][0], (t,), confirm=False).faults, shape


def test_a_fault_is_a_fail(x: Any) -> None:
    verdict = gradverify.check(launches.FAULTS["tail"][0], x, effort="quick")
    assert verdict.outcome is Outcome.FAIL
    assert "beyond its end" in verdict.message


def test_an_access_beyond_the_end_does_not_happen() -> None:
    """In a plain run as well: the memory after the tensor is another's."""
    memory = torch.full((8,), 7.0)
    y = torch.empty(0).set_(memory.untyped_storage(), 0, (5,), (1,))
    source = torch.zeros(8)
    with mended():
        launches.tail_written[(2,)](source, memory, 8, 8)  # the second instance lies beyond it
    assert (y == 0).all()


# ---- sizes ------------------------------------------------------------------------------------------------------------


def test_the_sizes_around_a_block_are_asked_for() -> None:
    """5 entries in a block of 32: no length near 5 shows what is wrong from the 33rd entry on."""
    found = trace(launches.LAUNCHES["masked"][0], (torch.randn(5).requires_grad_(),))
    assert found.launches.blocks == {4}
    given = SimpleNamespace(arguments=(np.zeros(5),), map_arrays=lambda change: (change(np.zeros(5)),))
    given.traced = SimpleNamespace(launches=Launches(2, frozenset({32, 4096})))
    given.backward = SimpleNamespace(traced=None)
    lengths = [v.resize.new for v in _other_sizes(given) if v.resize is not None]
    assert lengths == [4, 6, 10, 7, 31, 32, 33, 1]
    verdict = gradverify.check(launches.Square.apply, torch.randn(33).requires_grad_(), effort="quick")
    assert verdict.outcome is Outcome.FAIL
    assert gradverify.check(launches.Square.apply, torch.randn(5).requires_grad_(), effort="quick")


# ---- the interpreter --------------------------------------------------------------------------------------------------


def patched() -> dict[tuple[str, str], Any]:
    owners = (ti, ti.InterpreterBuilder, ti.ReduceOps, ti.ScanOps, ti.GridExecutor, tl, tl.core, tl.tensor)
    return {(str(o), n): v for o in owners for n, v in vars(o).items() if callable(v)}


def test_everything_is_put_back(x: Any) -> None:
    before = patched()
    trace(launches.LAUNCHES["functions"][0], (x,))
    assert patched() == before

    def broken(t: Any) -> Any:
        launches.LAUNCHES["reduced"][0](t)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        trace(broken, (x,))
    assert patched() == before
    with pytest.raises(Exception, match="Unsupported"):
        trace(lambda t: launches.masked[(1,)](t, t, "Unsupported", 4), (x,))
    assert patched() == before


def test_bfloat16_is_rounded_to_nearest() -> None:
    numbers = np.array([1.00390625, 1.0078125, -3.1415927, 65504.0, np.inf], np.float32)
    with mended():
        handle = ti.interpreter_builder.cast_impl(ti.TensorHandle(numbers, tl.float32), tl.bfloat16)
        product = ti.interpreter_builder.create_fmul(handle, handle)
    want = torch.from_numpy(numbers).bfloat16()
    assert np.array_equal(floats(handle), want.float().numpy())
    assert np.array_equal(floats(product), (want * want).float().numpy())
    assert product.dtype == tl.bfloat16
    assert np.array_equal(floats(rounded(numbers, tl.bfloat16)), floats(handle))


# ---- verdicts ---------------------------------------------------------------------------------------------------------

BY_NAME = {k.name: k for k in kernels()}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_right_kernel(dtype: str) -> None:
    kernel = BY_NAME["softmax"]
    verdict = gradverify.check(kernel.function(), *kernel.point(dtype), effort="quick")
    assert verdict.outcome is Outcome.PASS, verdict.text()
    assert verdict.formula is not None
    assert verdict.formula.power < 1e-10


@pytest.mark.parametrize("name", ["silu"])
def test_every_mutant_is_caught(name: str) -> None:
    kernel = BY_NAME[name]
    for mutant in kernel.mutants:
        verdict = gradverify.check(kernel.function(mutant), *kernel.point("float32"), effort="quick")
        assert verdict.outcome in (Outcome.FAIL, Outcome.WEAK), (mutant.about, verdict.text())


def test_mutants_stand_in_their_kernels() -> None:
    assert len(BY_NAME) >= 20
    assert sum(len(k.mutants) for k in BY_NAME.values()) >= 80
    for kernel in BY_NAME.values():
        assert all(kernel.text.count(m.old) == 1 and m.old != m.new for m in kernel.mutants), kernel.name


@pytest.mark.parametrize("shape", [(2, 6), (5,), (2, 2, 3)])
def test_a_kernel_that_takes_two_lengths_for_one_is_asked_about_no_others(shape: tuple[int, ...]) -> None:
    """Rows that are longer than their weight are no input: that the kernel reads beyond it there is nobody's bug."""
    draw = torch.Generator().manual_seed(0)
    x, w = (torch.randn(s, generator=draw).requires_grad_() for s in (shape, shape[-1:]))
    verdict = gradverify.check(launches.Weighted.apply, x, w, order=1)
    assert verdict.outcome is Outcome.PASS, verdict.text()


def test_a_tail_that_only_another_size_has_is_found() -> None:
    """All arrays are longer there: what is read beyond their end is the kernel's fault."""

    x, w = (torch.linspace(1, 2, 4).requires_grad_() for _ in "xw")
    verdict = gradverify.check(launches.InFours.apply, x, w, order=1)
    assert verdict.outcome is Outcome.FAIL
    assert "beyond its end" in verdict.message, verdict.text()
    assert "found with" in verdict.message
