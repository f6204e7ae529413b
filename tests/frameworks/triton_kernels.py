"""Kernels that the tests of Triton trace: one for each thing that the recorder must see. `x` has 3 rows of 5."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from triton.language.extra import libdevice

ROWS, COLUMNS = 3, 5


@triton.jit
def masked(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + at, mask=at < n, other=2.0)
    tl.store(y + at, v * v + 1.0, mask=at < n)


@triton.jit
def selected(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + at, mask=at < n, other=0.0)
    out = tl.where((v > 0.1) & (at != 3), tl.exp(v), tl.abs(v) * 0.5)
    tl.store(y + at, tl.minimum(tl.maximum(out, -1.0), 2.0), mask=at < n)


@triton.jit
def reduced(x, y, rows, n, R: tl.constexpr, BLOCK: tl.constexpr):
    r = tl.arange(0, R)[:, None]
    c = tl.arange(0, BLOCK)[None, :]
    inside = (r < rows) & (c < n)
    v = tl.load(x + r * n + c, mask=inside, other=float("-inf"))
    top = tl.max(v, axis=1, keep_dims=True)
    e = tl.where(inside, tl.exp(v - top), 0.0)
    p = e / tl.where(r < rows, tl.sum(e, axis=1)[:, None], 1.0)
    tl.store(y + r * n + c, p * tl.sum(p, axis=0)[None, :], mask=inside)


@triton.jit
def product(x, y, rows, n, R: tl.constexpr, BLOCK: tl.constexpr):
    r = tl.arange(0, R)[:, None]
    c = tl.arange(0, BLOCK)[None, :]
    v = tl.load(x + r * n + c, mask=(r < rows) & (c < n), other=0.0)
    gram = tl.dot(v, v.T)
    acc = tl.zeros((R, BLOCK), dtype=tl.float32)
    for _ in range(2):
        acc = tl.dot(gram, v, acc)
    tl.store(y + r * n + c, acc, mask=(r < rows) & (c < n))


@triton.jit
def scanned(x, y, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    v = tl.load(x + row * n + at, mask=at < n, other=0.0)
    tl.store(y + row * n + at, tl.cumsum(v, 0) * tl.cumsum(v, 0, reverse=True), mask=at < n)


@triton.jit
def decay(a, h, b, g):
    return a * b, b * h + g


@triton.jit
def recurrence(x, y, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    v = tl.load(x + row * n + at, mask=at < n, other=0.0)
    _, h = tl.associative_scan((tl.sigmoid(v), v), 0, decay)
    tl.store(y + row * n + at, h, mask=at < n)


@triton.jit
def times(a, b):
    return a * b


@triton.jit
def multiplied(x, y, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    v = tl.load(x + row * n + at, mask=at < n, other=1.0)
    tl.store(y + row * n + at, v + tl.reduce(v, 0, times), mask=at < n)


@triton.jit
def added(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + at, mask=at < n, other=0.0)
    tl.atomic_add(y + at % 3, v * v, mask=at < n)


@triton.jit
def block_pointers(x, y, rows, n, R: tl.constexpr, BLOCK: tl.constexpr):
    source = tl.make_block_ptr(x, (rows, n), (n, 1), (0, 0), (R, BLOCK), (1, 0))
    target = tl.make_block_ptr(y, (rows, n), (n, 1), (0, 0), (R, BLOCK), (1, 0))
    for _ in range(0, n, BLOCK):
        v = tl.load(source, boundary_check=(0, 1), padding_option="zero")
        tl.store(target, v * v, boundary_check=(0, 1))
        source = tl.advance(source, (0, BLOCK))
        target = tl.advance(target, (0, BLOCK))


@triton.jit
def rounded(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + at, mask=at < n, other=0.0)
    tl.store(y + at, (v.to(tl.bfloat16) * v.to(tl.bfloat16)).to(tl.float32), mask=at < n)


@triton.jit
def functions(x, y, eps, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + at, mask=at < n, other=0.0)
    s = tl.rsqrt(v * v + eps.to(tl.float32)) + libdevice.tanh(v) + tl.erf(v) + tl.fma(v, v, v)
    tl.store(y + at, s, mask=at < n)


@triton.jit
def paired(x, y, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    v = tl.load(x + row * n + at, mask=at < n, other=0.0)
    left, right = tl.split(tl.reshape(v, (BLOCK // 2, 2)))
    tl.store(y + row * n + at, tl.reshape(tl.join(right, left * left), (BLOCK,)), mask=at < n)


@triton.jit
def twice(x, y, n, BLOCK: tl.constexpr):
    """Reads what it has written itself."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + at, tl.load(x + at, mask=at < n) * 3.0, mask=at < n)
    tl.store(y + at, tl.sin(tl.load(y + at, mask=at < n)), mask=at < n)


def elementwise(kernel, *scalars):
    def run(x, block=4):
        y = torch.empty_like(x)
        kernel[(triton.cdiv(x.numel(), block),)](x, y, *scalars, x.numel(), block)
        return y

    return run


def by_rows(kernel, block=8):
    def run(x):
        y = torch.empty_like(x)
        kernel[(x.shape[0],)](x, y, x.shape[1], block)
        return y

    return run


def whole(kernel):
    def run(x):
        y = torch.empty_like(x)
        kernel[(1,)](x, y, *x.shape, 4, 8)
        return y

    return run


def sums(x):
    y = torch.zeros(3)
    added[(triton.cdiv(x.numel(), 4),)](x, y, x.numel(), 4)
    return y


def _selected(x):
    flat = x.reshape(-1)
    out = torch.where((flat > 0.1) & (torch.arange(15) != 3), flat.exp(), flat.abs() * 0.5)
    return out.clamp(-1.0, 2.0).reshape(x.shape)


def _reduced(x):
    p = torch.softmax(x, 1)
    return p * p.sum(0)


def _recurrence(x):
    rows, h = [], torch.zeros(x.shape[0], dtype=x.dtype)
    for t in range(x.shape[1]):
        h = torch.sigmoid(x[:, t]) * h + x[:, t]
        rows.append(h)
    return torch.stack(rows, 1)


def _paired(x):
    wide = torch.nn.functional.pad(x, (0, 3)).reshape(x.shape[0], 4, 2)
    return torch.stack([wide[..., 1], wide[..., 0] ** 2], -1).reshape(x.shape[0], 8)[:, :5]


def _sums(x):
    flat = x.reshape(-1) ** 2
    return torch.stack([flat[k::3].sum() for k in range(3)])


LAUNCHES = {
    "masked": (elementwise(masked), lambda x: x * x + 1),
    "selected": (elementwise(selected), _selected),
    "reduced": (whole(reduced), _reduced),
    "product": (whole(product), lambda x: 2 * (x @ x.T @ x)),
    "scanned": (by_rows(scanned), lambda x: x.cumsum(1) * x.flip(1).cumsum(1).flip(1)),
    "recurrence": (by_rows(recurrence), _recurrence),
    "multiplied": (by_rows(multiplied), lambda x: x + x.prod(1, keepdim=True)),
    "added": (sums, _sums),
    "block_pointers": (whole(block_pointers), lambda x: x * x),
    "rounded": (elementwise(rounded), lambda x: x * x),
    "functions": (
        elementwise(functions, 0.25),
        lambda x: (x * x + 0.25).rsqrt() + x.tanh() + x.erf() + x * x + x,
    ),
    "paired": (by_rows(paired), _paired),
    "twice": (elementwise(twice), lambda x: (3 * x).sin()),
}
"""Name -> (the launch, the same by PyTorch)."""


# ---- what goes wrong in memory ----------------------------------------------------------------------------------------


@triton.jit
def tail(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + at, tl.load(x + at) * 2.0, mask=at < n)


@triton.jit
def tail_written(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + at, tl.load(x + at, mask=at < n) * 2.0)


@triton.jit
def before(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + at, tl.load(x + at - 1, mask=at < n), mask=at < n)


@triton.jit
def short(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + at, tl.load(x + at, mask=at < n), mask=at < n - 1)


@triton.jit
def no_other(x, y, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    v = tl.load(x + row * n + at, mask=at < n)
    tl.store(y + row * n + at, v / tl.sum(v), mask=at < n)


@triton.jit
def not_zeroed(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.atomic_add(y + at, tl.load(x + at, mask=at < n), mask=at < n)


@triton.jit
def unwritten(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + at, tl.load(y + at, mask=at < n) + tl.load(x + at, mask=at < n), mask=at < n)


@triton.jit
def last_wins(x, y, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(y + at, tl.load(x + tl.program_id(0) * n + at, mask=at < n), mask=at < n)


@triton.jit
def not_atomic(x, y, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    v = tl.load(x + tl.program_id(0) * n + at, mask=at < n)
    tl.store(y + at, tl.load(y + at, mask=at < n) + v, mask=at < n)


@triton.jit
def in_place(x, y, n, BLOCK: tl.constexpr):
    """Each instance reads its neighbour's entries, which that one writes."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + at, mask=at < n)
    after = tl.load(x + at + BLOCK, mask=at + BLOCK < n, other=0.0)
    tl.store(x + at, v + after, mask=at < n)
    tl.store(y + at, v, mask=at < n)


def accumulated(kernel):
    def run(x):
        y = torch.zeros_like(x)
        kernel[(x.shape[0],)](x, y, x.shape[1], 8)
        return y

    return run


def on_a_copy(kernel):
    def run(x):
        x, y = x * 1.0, torch.empty_like(x)
        kernel[(triton.cdiv(x.numel(), 4),)](x, y, x.numel(), 4)
        return x

    return run


FAULTS = {
    "tail": (elementwise(tail), "reads 1 element of x beyond its end (element 15 of 15)"),
    "tail_written": (elementwise(tail_written), "writes 1 element of y beyond its end"),
    "before": (elementwise(before), "reads 1 element of x before its start (element -1 of 15)"),
    "short": (elementwise(short), "1 of 15 entries of the result are never written"),
    "no_other": (by_rows(no_other), "no other= fills"),
    "not_zeroed": (elementwise(not_zeroed), "adds to memory of y that nobody wrote"),
    "unwritten": (elementwise(unwritten), "depends on memory of y that nobody wrote"),
    "last_wins": (accumulated(last_wins), "writes places of y that another program instance writes"),
    "not_atomic": (accumulated(not_atomic), "reads what another program instance writes in y"),
    "in_place": (on_a_copy(in_place), "a race"),
}
"""Name -> (the launch, what is said)."""


# ---- a bug that one size shows ------------------------------------------------------------------------------------------


@triton.jit
def one_block(g, x, d, n, BLOCK: tl.constexpr):
    """The derivative of x²; entries beyond the first block get no gradient."""
    for start in range(0, n, BLOCK):
        at = start + tl.arange(0, BLOCK)
        v = tl.load(x + at, mask=at < n)
        tl.store(d + at, tl.where(at < BLOCK, 2.0, 0.0) * v * tl.load(g + at, mask=at < n), mask=at < n)


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x.contiguous())
        return x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        d = torch.empty_like(x)
        one_block[(1,)](g.contiguous(), x, d, x.numel(), 32)
        return d


# ---- what has no counterpart -------------------------------------------------------------------------------------------


@triton.jit
def ordered(x, y, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    v = tl.load(x + row * n + at, mask=at < n, other=float("inf"))
    tl.store(y + row * n + at, tl.sort(v), mask=at < n)


@triton.jit
def largest(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.atomic_max(y + at % 3, tl.load(x + at, mask=at < n, other=0.0), mask=at < n)


def maxima(x):
    y = torch.zeros(3)
    largest[(triton.cdiv(x.numel(), 4),)](x, y, x.numel(), 4)
    return y


REFUSED = {"ordered": by_rows(ordered), "largest": maxima}


@triton.jit
def weighted(x, w, y, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    v = tl.load(x + row * n + at, mask=at < n, other=0.0)
    tl.store(y + row * n + at, v * tl.load(w + at, mask=at < n, other=0.0), mask=at < n)


class Weighted(torch.autograd.Function):
    """Rows times a weight, or pairs of two vectors: the first argument's length is taken for the other's."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        y, n = torch.empty_like(x), x.shape[-1]
        weighted[(x.numel() // n,)](x.contiguous(), w.contiguous(), y, n, triton.next_power_of_2(n))
        return y

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g * w, (g * x).reshape(-1, w.shape[0]).sum(0)


class InFours(Weighted):
    """The kernel's length is rounded up to a multiple of 4, and its mask with it."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        y, n = torch.empty_like(x), -(-x.shape[-1] // 4) * 4
        weighted[(x.numel() // x.shape[-1],)](x.contiguous(), w.contiguous(), y, n, triton.next_power_of_2(n))
        return y
