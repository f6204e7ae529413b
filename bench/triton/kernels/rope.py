"""Rotary embedding in place of a copy, after Liger's and Unsloth's."""

import torch

import triton
import triton.language as tl


@triton.jit
def rope(x, cos, sin, out, heads, half, SIGN: tl.constexpr, BLOCK: tl.constexpr):
    token = tl.program_id(0)
    head = tl.program_id(1)
    at = tl.arange(0, BLOCK)
    mask = at < half
    base = (token * heads + head) * 2 * half
    a = tl.load(x + base + at, mask=mask, other=0.0).to(tl.float32)
    b = tl.load(x + base + half + at, mask=mask, other=0.0).to(tl.float32)
    c = tl.load(cos + token * half + at, mask=mask, other=0.0).to(tl.float32)
    s = SIGN * tl.load(sin + token * half + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + base + at, a * c - b * s, mask=mask)
    tl.store(out + base + half + at, b * c + a * s, mask=mask)


class Rope(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, cos, sin):
        x = x.contiguous()
        tokens, heads, d = x.shape
        out = torch.empty_like(x)
        rope[(tokens, heads)](x, cos, sin, out, heads, d // 2, 1.0, triton.next_power_of_2(d // 2))
        ctx.save_for_backward(cos, sin)
        return out

    @staticmethod
    def backward(ctx, g):
        cos, sin = ctx.saved_tensors
        g = g.contiguous()
        tokens, heads, d = g.shape
        dx = torch.empty_like(g)
        rope[(tokens, heads)](g, cos, sin, dx, heads, d // 2, -1.0, triton.next_power_of_2(d // 2))
        return dx, None, None


def function(x, cos, sin):
    return Rope.apply(x, cos, sin)


def point(dtype, rand):
    angle = rand(3, 3)
    return rand(3, 2, 6).to(dtype).requires_grad_(), angle.cos().to(dtype), angle.sin().to(dtype)


MUTANTS = [
    ("sign", "backward rotates forward", "d // 2, -1.0,", "d // 2, 1.0,"),
    (
        "stride",
        "the angles of the head, not of the token",
        "tl.load(sin + token * half + at",
        "tl.load(sin + head * half + at",
    ),
    ("stride", "the cotangent's strides are not looked at", "g = g.contiguous()", "g = g"),
    ("tail", "backward rotates one head less", "rope[(tokens, heads)](g", "rope[(tokens, heads - 1)](g"),
    (
        "term",
        "backward keeps the second half",
        "rope[(tokens, heads)](g, cos, sin, dx, heads, d // 2, -1.0",
        "dx.copy_(g); rope[(tokens, heads)](g, cos, sin * 0, dx, heads, d // 2, -1.0",
    ),
]
