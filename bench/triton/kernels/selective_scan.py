"""h = exp(dt A) h + dt b x, y = c h, after Mamba's selective scan; one state."""

import torch

import triton
import triton.language as tl


@triton.jit
def scan(x, dt, A, b, c, y, states, T, C, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    mask = at < C
    a = tl.load(A + at, mask=mask, other=0.0).to(tl.float32)
    h = tl.zeros([BLOCK], dtype=tl.float32)
    for t in range(0, T):
        step = tl.load(dt + t * C + at, mask=mask, other=0.0).to(tl.float32)
        u = tl.load(x + t * C + at, mask=mask, other=0.0).to(tl.float32)
        h = tl.exp(step * a) * h + step * tl.load(b + t).to(tl.float32) * u
        tl.store(states + t * C + at, h, mask=mask)
        tl.store(y + t * C + at, h * tl.load(c + t).to(tl.float32), mask=mask)


@triton.jit
def scan_backward(x, dt, A, b, c, g, states, dx, ddt, dA, db, dc, T, C, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    mask = at < C
    a = tl.load(A + at, mask=mask, other=0.0).to(tl.float32)
    dh = tl.zeros([BLOCK], dtype=tl.float32)
    total = tl.zeros([BLOCK], dtype=tl.float32)
    for back in range(0, T):
        t = T - 1 - back
        step = tl.load(dt + t * C + at, mask=mask, other=0.0).to(tl.float32)
        u = tl.load(x + t * C + at, mask=mask, other=0.0).to(tl.float32)
        d = tl.load(g + t * C + at, mask=mask, other=0.0).to(tl.float32)
        h = tl.load(states + t * C + at, mask=mask, other=0.0)
        before = tl.load(states + (t - 1) * C + at, mask=mask & (t > 0), other=0.0)
        bt = tl.load(b + t).to(tl.float32)
        dh += d * tl.load(c + t).to(tl.float32)
        e = tl.exp(step * a)
        tl.store(dc + t, tl.sum(d * h, axis=0))
        tl.store(db + t, tl.sum(dh * step * u, axis=0))
        tl.store(dx + t * C + at, dh * step * bt, mask=mask)
        tl.store(ddt + t * C + at, dh * (e * a * before + bt * u), mask=mask)
        total += dh * e * step * before
        dh = dh * e
    tl.store(dA + at, total, mask=mask)


class Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, dt, A, b, c):
        x, dt, A, b, c = (t.contiguous() for t in (x, dt, A, b, c))
        T, C = x.shape
        y, states = torch.empty_like(x), torch.empty(T, C)
        scan[(1,)](x, dt, A, b, c, y, states, T, C, triton.next_power_of_2(C))
        ctx.save_for_backward(x, dt, A, b, c, states)
        return y

    @staticmethod
    def backward(ctx, g):
        x, dt, A, b, c, states = ctx.saved_tensors
        g = g.contiguous()
        T, C = x.shape
        dx, ddt, dA, db, dc = (torch.empty_like(t) for t in (x, dt, A, b, c))
        scan_backward[(1,)](x, dt, A, b, c, g, states, dx, ddt, dA, db, dc, T, C, triton.next_power_of_2(C))
        return dx, ddt, dA, db, dc


def function(x, dt, A, b, c):
    return Scan.apply(x, dt, A, b, c)


def point(dtype, rand):
    given = rand(4, 3), rand(4, 3).abs() + 0.1, -rand(3).abs() - 0.1, rand(4), rand(4)
    return tuple(t.to(dtype).requires_grad_() for t in given)


MUTANTS = [
    ("stale", "dh does not decay", "dh = dh * e\n", "dh = dh\n"),
    ("term", "the decay's part of ddt is left out", "dh * (e * a * before + bt * u)", "dh * bt * u"),
    ("term", "dA with the state after the step", "total += dh * e * step * before", "total += dh * e * step * h"),
    ("stale", "the cotangent replaces dh", "dh += d * tl.load(c + t)", "dh = d * tl.load(c + t)"),
    (
        "stride",
        "the state before is read one entry off",
        "tl.load(states + (t - 1) * C + at, mask=mask & (t > 0)",
        "tl.load(states + t * C - 1 + at, mask=mask & (t > 0)",
    ),
    ("tail", "the first step gets no gradient", "    for back in range(0, T):", "    for back in range(0, T - 1):"),
    ("mask", "the state before the first is read", "mask=mask & (t > 0)", "mask=mask"),
    ("sign", "the wrong sign in ddt", "(e * a * before + bt * u)", "(bt * u - e * a * before)"),
]
