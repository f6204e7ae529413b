# ruff: noqa: E402 - imports after it was found out whether Triton is there
"""Kernels that are run otherwise on a GPU: another configuration, the call that tunes, another order of instances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("triton", reason="Triton is not installed")
torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import triton
import triton.language as tl

if not triton.knobs.runtime.interpret:
    pytest.skip("TRITON_INTERPRET was not set before Triton was imported", allow_module_level=True)

import gradverify
from gradverify import Outcome
from gradverify.frameworks.torch.tracer import trace

from . import triton_kernels as launches


def in_blocks(*blocks: int, **options: Any) -> Callable[[Any], Any]:
    """An autotuned kernel: each block in two configurations that differ in warps alone."""
    configs = [triton.Config({"BLOCK": b}, num_warps=w) for b in blocks for w in (2, 4)]
    return triton.autotune(configs=configs, key=["n"], **options)


@triton.jit
def squares(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + at, mask=at < n, other=0.0)
    tl.store(y + at, v * v, mask=at < n)


@triton.jit
def right(x, g, d, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + at, mask=at < n, other=0.0)
    tl.store(d + at, 2 * v * tl.load(g + at, mask=at < n, other=0.0), mask=at < n)


@triton.jit
def wrong_in_eight(x, g, d, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + at, mask=at < n, other=0.0)
    tl.store(d + at, (2 + BLOCK // 8) * v * tl.load(g + at, mask=at < n, other=0.0), mask=at < n)


@triton.jit
def without_a_mask(x, g, d, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(d + at, 2 * tl.load(x + at) * tl.load(g + at))


@triton.jit
def half_of_eight(x, g, d, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + at, mask=at < n, other=0.0)
    mask = (at < n) & ((BLOCK < 8) | (at % 8 < 4))
    tl.store(d + at, 2 * v * tl.load(g + at, mask=at < n, other=0.0), mask=mask)


@triton.jit
def added(x, g, d, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + at, mask=at < n, other=0.0)
    tl.atomic_add(d + at, 2 * v * tl.load(g + at, mask=at < n, other=0.0), mask=at < n)


@triton.jit
def in_place(x, g, d, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + at, mask=at < n, other=0.0)
    tl.store(d + at, tl.load(d + at, mask=at < n) * 2 * v, mask=at < n)


@triton.jit
def zeroed_by_the_first(x, g, d, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if tl.program_id(0) == 0:
        every = tl.arange(0, 32)
        tl.store(d + every, every * 0.0, mask=every < n)
    v = tl.load(x + at, mask=at < n, other=0.0)
    tl.atomic_add(d + at, 2 * v * tl.load(g + at, mask=at < n, other=0.0), mask=at < n)


@triton.jit
def counted(x, g, d, count, n, BLOCK: tl.constexpr):
    """Right only if instances come in order: the first to arrive must be instance 0."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    turn = tl.atomic_add(count, 1)
    v = tl.load(x + at, mask=at < n, other=0.0)
    factor = tl.where(turn == tl.program_id(0), 2.0, 3.0)
    tl.store(d + at, factor * v * tl.load(g + at, mask=at < n, other=0.0), mask=at < n)


@triton.jit
def nearest_instance(x, g, d, last, n, BLOCK: tl.constexpr):
    """The factor is right while the exchanged number grows."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    before = tl.atomic_max(last, tl.program_id(0))
    v = tl.load(x + at, mask=at < n, other=0.0)
    factor = tl.where(before <= tl.program_id(0), 2.0, 1.0)
    tl.store(d + at, factor * v * tl.load(g + at, mask=at < n, other=0.0), mask=at < n)


def square(backward: Any, new: Callable[[Any], Any] = torch.empty_like, *more: Any, forward: Any = None) -> Any:
    """x * x, by kernels; `backward` is one, or autotuned; `new` gives the memory that it writes to."""
    forward = squares if forward is None else forward

    def launch(kernel: Any, n: int, *args: Any) -> None:
        if isinstance(kernel, triton.runtime.Autotuner):
            kernel[lambda meta: (triton.cdiv(n, meta["BLOCK"]),)](*args, n)
        else:
            kernel[(triton.cdiv(n, 4),)](*args, n, 4)

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = torch.empty_like(x)
            launch(forward, x.numel(), x, y)
            ctx.save_for_backward(x)
            return y

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            g = g.contiguous()
            d = new(g)
            launch(backward, x.numel(), x, g, d, *(m.clone() for m in more))
            return d

    return Square.apply


@pytest.fixture
def x() -> Any:
    return torch.randn(12, generator=torch.Generator().manual_seed(0)).requires_grad_()


FAULTS = {
    "a factor": (wrong_in_eight, torch.empty_like, {}, "is off by"),
    "a missing mask": (without_a_mask, torch.empty_like, {}, "beyond its end"),
    "a tail": (half_of_eight, torch.empty_like, {}, "4 of 12 entries of the result are never written"),
    "an atomic sum that is tuned": (added, torch.zeros_like, {}, "found with the call that tunes added"),
    "in place, and tuned": (in_place, torch.clone, {}, "found with the call that tunes in_place"),
}
TWINS = {
    "a kernel": (right, torch.empty_like, {}),
    "an atomic sum, reset": (added, torch.zeros_like, {"reset_to_zero": ["d"]}),
    "in place, restored": (in_place, torch.clone, {"restore_value": ["d"]}),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_one_configuration_is_found(name: str, x: Any) -> None:
    """Quick effort judges the first configuration alone, which has no fault."""
    kernel, new, options, said = FAULTS[name]
    function = square(in_blocks(4, 8, **options)(kernel), new)
    assert gradverify.check(function, x, effort="quick").outcome is Outcome.PASS
    verdict = gradverify.check(function, x)
    assert verdict.outcome is Outcome.FAIL
    assert said in verdict.message, verdict.text()
    assert "found with" in verdict.message


@pytest.mark.parametrize("name", TWINS)
def test_a_right_kernel_is_right_in_each_configuration(name: str, x: Any) -> None:
    kernel, new, options = TWINS[name]
    verdict = gradverify.check(square(in_blocks(4, 8, 16, **options)(kernel), new), x)
    assert verdict.outcome is Outcome.PASS, verdict.text()
    tried = verdict.facts["tried"]
    assert [t for t in tried if "BLOCK=" in t and "instead" not in t] == [
        f"{kernel.fn.__name__} in BLOCK={b}" for b in (8, 8, 16, 16)
    ]
    assert "program instances from the last to the first" in tried


def test_a_kernel_that_is_reset_in_its_first_call_alone(x: Any) -> None:
    """The tuner sets `d` to zero in the call that it tunes in, and in no other."""
    verdict = gradverify.check(square(in_blocks(4, 8, reset_to_zero=["d"])(added)), x)
    assert verdict.outcome is Outcome.FAIL
    assert "it must be zeros first" in verdict.message, verdict.text()


@pytest.mark.parametrize("kernel", [counted, nearest_instance])
def test_an_order_that_nobody_promised(kernel: Any, x: Any) -> None:
    verdict = gradverify.check(square(kernel, torch.empty_like, torch.zeros(1, dtype=torch.int32)), x)
    assert verdict.outcome is Outcome.FAIL
    assert "found with program instances from the last to the first" in verdict.message, verdict.text()


def test_an_atomic_beside_a_plain_store_is_a_race(x: Any) -> None:
    verdict = gradverify.check(square(zeroed_by_the_first), x, effort="quick")
    assert verdict.outcome is Outcome.FAIL
    assert "another program instance writes without atomics: a race" in verdict.message, verdict.text()


def test_the_tuners_are_left_as_they_were(x: Any) -> None:
    tuned = in_blocks(4, 8)(right)
    before = dict(vars(tuned))
    gradverify.check(square(tuned), x)
    assert not tuned.cache
    assert tuned.configs == before["configs"]
    assert "do_bench" not in vars(tuned)


def test_configurations_that_differ_in_warps_alone_are_one(x: Any) -> None:
    found = trace(square(right, forward=in_blocks(4)(squares)), (x,)).launches
    assert found.instances == 3
    assert not found.autotuned


@triton.jit
def sums(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.atomic_add(y, tl.sum(tl.load(x + at, mask=at < n, other=0.0)))


class Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y = torch.zeros((), dtype=x.dtype)
        sums[(triton.cdiv(x.numel(), 4),)](x.contiguous(), y, x.numel(), 4)
        ctx.shape = x.shape
        return y

    @staticmethod
    def backward(ctx, g):
        return g.expand(ctx.shape)


def test_atomic_sums_are_noted(x: Any) -> None:
    """They are right in any order, and differ in their last digits: said, and no fault."""
    verdict = gradverify.check(Sum.apply, x)
    assert verdict.outcome is Outcome.PASS, verdict.text()
    note = "program instances add to y of sums by atomics: on a GPU the last digits differ from run to run"
    assert note in verdict.notes
    alone = gradverify.check(Sum.apply, x[:4].detach().requires_grad_(), effort="quick")
    assert not any("atomics" in n for n in alone.notes)


@triton.jit
def divided(x, g, d, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    v = tl.load(x + at, mask=at < n, other=0.0)
    factor = tl.where(n > 1, 2.0, 1.0)
    tl.store(d + at, factor * v * tl.load(g + at, mask=at < n, other=0.0), mask=at < n)


class OfOne(torch.autograd.Function):
    """Wrong for one entry alone, along an axis that is no batch."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x.contiguous())
        return x * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        g, d = g.contiguous(), torch.empty_like(x)
        for row in range(len(x)):
            divided[(1,)](x[row], g[row], d[row], x.shape[1], triton.next_power_of_2(max(x.shape[1], 1)))
        return d


class OfNone(OfOne):
    """Raises where there is none."""

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        g, d = g.contiguous(), torch.empty_like(x)
        for row in range(len(x)):
            right[(1,)](x[row], g[row], d[row], x.shape[1], triton.next_power_of_2(x.shape[1]))
        return d


def test_a_length_of_one_is_asked_for() -> None:
    x = torch.randn(2, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    verdict = gradverify.check(OfOne.apply, x)
    assert verdict.outcome is Outcome.FAIL
    assert "axes of length 1 instead of 6" in verdict.message, verdict.text()


def test_a_length_of_zero_is_asked_for() -> None:
    """The forward pass takes it, the backward pass raises."""
    x = torch.randn(2, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    verdict = gradverify.check(OfNone.apply, x)
    assert verdict.outcome is Outcome.FAIL
    assert "axes of length 0 instead of 6" in verdict.message, verdict.text()


def test_sizes_around_the_blocks_of_the_backward_pass_are_asked_for() -> None:
    """5 entries, and a block of 32 in the backward pass alone, which leaves out what comes after it."""
    verdict = gradverify.check(launches.Square.apply, torch.randn(5).requires_grad_(), order=1)
    assert verdict.outcome is Outcome.FAIL
    assert "axes of length 33 instead of 5" in verdict.message, verdict.text()


# ---- sizes that the integers of a call do not fit ----------------------------------------------------------------------


@triton.jit
def of_segments(x, y, starts, rows, n, BLOCK: tl.constexpr):
    """Segments of rows, each scaled by its number."""
    segment = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    for row in range(tl.load(starts + segment), tl.load(starts + segment + 1)):
        v = tl.load(x + row * n + at, mask=at < n, other=0.0)
        tl.store(y + row * n + at, v * (segment + 1), mask=at < n)


@triton.jit
def picked(x, y, index, n, BLOCK: tl.constexpr):
    row = tl.load(index + tl.program_id(0))
    at = tl.arange(0, BLOCK)
    tl.store(y + tl.program_id(0) * n + at, tl.load(x + row * n + at, mask=at < n, other=0.0), mask=at < n)


@triton.jit
def put(g, d, index, n, BLOCK: tl.constexpr):
    row = tl.load(index + tl.program_id(0))
    at = tl.arange(0, BLOCK)
    tl.atomic_add(d + row * n + at, tl.load(g + tl.program_id(0) * n + at, mask=at < n, other=0.0), mask=at < n)


class Segments(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, starts):
        x = x.contiguous()
        y = torch.empty_like(x)
        of_segments[(len(starts) - 1,)](x, y, starts, len(x), x.shape[1], triton.next_power_of_2(max(x.shape[1], 1)))
        ctx.starts = starts
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return Segments.forward(ctx, g, ctx.starts), None


class Picked(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, index):
        x, y = x.contiguous(), x.new_empty(len(index), x.shape[1])
        picked[(len(index),)](x, y, index, x.shape[1], triton.next_power_of_2(max(x.shape[1], 1)))
        ctx.index, ctx.rows = index, len(x)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        g = g.contiguous()
        d = g.new_zeros(ctx.rows, g.shape[1])
        put[(len(ctx.index),)](g, d, ctx.index, g.shape[1], triton.next_power_of_2(max(g.shape[1], 1)))
        return d, None


@pytest.mark.parametrize("starts", [[0, 2, 5], [0, 5], [0, 1, 3, 5]])
def test_segments_are_asked_about_as_many_rows_as_they_have(starts: list[int]) -> None:
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    verdict = gradverify.check(Segments.apply, x, torch.tensor(starts))
    assert verdict.outcome is Outcome.PASS, verdict.text()


@pytest.mark.parametrize("index", [[3, 0, 1, 3], [4], [0, 4, 1, 2, 0]])
def test_a_table_is_not_cut_below_its_indices(index: list[int]) -> None:
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    verdict = gradverify.check(Picked.apply, x, torch.tensor(index))
    assert verdict.outcome is Outcome.PASS, verdict.text()


@triton.jit
def turn(x, c, y, heads, half, BLOCK: tl.constexpr):
    token, head = tl.program_id(0), tl.program_id(1)
    at = tl.arange(0, BLOCK)
    mask = at < half
    base = (token * heads + head) * 2 * half
    v = tl.load(c + token * half + at, mask=mask, other=0.0)
    for part in range(2):
        tl.store(y + base + part * half + at, v * tl.load(x + base + part * half + at, mask=mask, other=0.0), mask=mask)


class Turned(torch.autograd.Function):
    """Both halves of a row times the same numbers."""

    @staticmethod
    def forward(ctx, x, c):
        ctx.save_for_backward(c)
        return Turned.launched(x, c)

    @staticmethod
    def launched(x, c):
        x = x.contiguous()
        tokens, heads, d = x.shape
        y = torch.empty_like(x)
        turn[(tokens, heads)](x, c, y, heads, d // 2, triton.next_power_of_2(max(d // 2, 1)))
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return Turned.launched(g, *ctx.saved_tensors), None


@pytest.mark.parametrize("shape", [(3, 2, 6), (2, 1, 8), (5, 3, 4)])
def test_an_array_of_half_the_columns_is_not_cut_alone(shape: tuple[int, ...]) -> None:
    draw = torch.Generator().manual_seed(0)
    x, c = torch.randn(shape, generator=draw).requires_grad_(), torch.randn(shape[0], shape[2] // 2, generator=draw)
    verdict = gradverify.check(Turned.apply, x, c)
    assert verdict.outcome is Outcome.PASS, verdict.text()


# ---- a scalar that a mask leaves out -----------------------------------------------------------------------------------


@triton.jit
def scalar_of_zero(x, y, n):
    at = tl.program_id(0)
    tl.store(y + at, tl.load(x + at, mask=at < n, other=0.0) + 1.0)


@triton.jit
def scalar_of_an_integer(x, y, n):
    at = tl.program_id(0)
    tl.store(y + at, tl.load(x + at, mask=at < n, other=0) * 2.0)


@triton.jit
def scalar_of_minus_zero(x, y, n):
    at = tl.program_id(0)
    tl.store(y + at, tl.maximum(tl.load(x + at, mask=at < n, other=-0.0), -9.0))


@triton.jit
def scalar_without(x, y, n):
    at = tl.program_id(0)
    tl.store(y + at, tl.load(x + at, mask=at < n) + 1.0)


@pytest.mark.parametrize("kernel", [scalar_of_zero, scalar_of_an_integer, scalar_of_minus_zero, scalar_without])
def test_a_scalar_other_of_zero_is_one(kernel: Any, x: Any) -> None:
    """The interpreter takes it for none, as 0 is false."""

    def launch(t: Any) -> Any:
        y = torch.empty(t.numel() + 1)
        kernel[(t.numel() + 1,)](t, y, t.numel())
        return y

    faults = trace(launch, (x,), confirm=False).faults
    assert bool(faults) == (kernel is scalar_without), faults
