# ruff: noqa: E501 - one entry, one line: a table
"""Gated activations, and linear maps with one behind them."""

from __future__ import annotations

import math

import torch

from ..catalogue import Kernels, up

KERNELS = Kernels()


@KERNELS.add(
    "swiglu", "Liger Kernel, ops/swiglu.py", lambda r: (r.of(3 * r.rng.standard_normal((64, 8))), r(64, 8)),
    {
        "sigmoid": "the sigmoid is stored in 16 bits before 1 - σ is taken",
        "silu": "silu is recomputed in 16 bits",
        "slope": "silu' is computed in 16 bits",
    },
    {"slope-term": "the term a·(1 - σ) is short by 1e-3", "beta": "silu of the other factor has a slope of 1.001"},
)  # fmt: skip
class SwiGLU:
    @staticmethod
    def forward(run, a, b):
        return run.down(up(a) * torch.sigmoid(up(a)) * up(b)), ()

    @staticmethod
    def backward(run, args, saved, g):
        a, b = args
        s = run.narrow("sigmoid", torch.sigmoid(up(a)))
        silu = up(run.computed("silu", up(a)) * run.computed("silu", s))
        if run.has("beta"):
            silu = up(a) * torch.sigmoid(1.001 * up(a))
        t, z = run.computed("slope", s), run.computed("slope", up(a))
        slope = up(t * (1 + z * (1 - t) * run.of("slope-term", 0.999, 1.0)))
        return run.down(up(g) * up(b) * slope), run.down(up(g) * silu)


@KERNELS.add(
    "geglu", "Liger Kernel, ops/geglu.py", lambda r: (r.of(1.5 * r.rng.standard_normal((64, 8))), r(64, 8)),
    {
        "tanh": "tanh is stored in 16 bits",
        "argument": "the argument of tanh is computed in 16 bits",
        "slope": "1 - tanh² is computed in 16 bits",
    },
    {"cubic": "0.0447 for 0.044715 in the backward pass", "root": "0.798 for √(2/π) in the backward pass"},
)  # fmt: skip
class GeGLU:
    @staticmethod
    def forward(run, a, b):
        a, b = up(a), up(b)
        t = torch.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a * a * a))
        return run.down(0.5 * a * (1 + t) * b), ()

    @staticmethod
    def backward(run, args, saved, g):
        x, b = (up(t) for t in args)
        root, cubic = run.of("root", 0.798, math.sqrt(2 / math.pi)), run.of("cubic", 0.0447, 0.044715)
        z = run.computed("argument", x)
        t = run.narrow("tanh", torch.tanh(up(root * (z + cubic * z * z * z))))
        h = run.computed("slope", t)
        slope = 0.5 * (1 + t) + 0.5 * x * up(1 - h * h) * root * (1 + 3 * cubic * x * x)
        return run.down(up(g) * b * slope), run.down(up(g) * 0.5 * x * (1 + t))


@KERNELS.add(
    "linear-bias-gelu", "Apex, fused_dense_gelu; xformers' fused linear", lambda r: (r(64, 8), r(6, 8), r(6)),
    {
        "bias-sum": "the bias's gradient is added up over 64 rows in 16 bits",
        "pre-activation": "the argument of gelu is saved in 16 bits",
        "slope": "gelu' is stored in 16 bits before the products",
    },
    {"density": "0.3989 for 1/√(2π)", "approximation": "gelu' of the tanh approximation for that of erf"},
)  # fmt: skip
class LinearBiasGelu:
    @staticmethod
    def forward(run, x, w, b):
        z = up(x) @ up(w).T + up(b)
        return run.down(0.5 * z * (1 + torch.erf(z * math.sqrt(0.5)))), (run.narrow("pre-activation", z),)

    @staticmethod
    def backward(run, args, saved, g):
        (x, w, _), (z,) = args, saved
        density = run.of("density", 0.3989, 1 / math.sqrt(2 * math.pi)) * torch.exp(-0.5 * z * z)
        slope = 0.5 * (1 + torch.erf(z * math.sqrt(0.5))) + z * density
        if run.has("approximation"):
            root = math.sqrt(2 / math.pi)
            t = torch.tanh(root * (z + 0.044715 * z * z * z))
            slope = 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * root * (1 + 0.134145 * z * z)
        dz = up(g) * run.narrow("slope", slope)
        return run.down(dz @ up(w)), run.down(dz.T @ up(x)), run.down(run.rows("bias-sum", dz))


@KERNELS.add(
    "int8-linear", "bitsandbytes, MatMul8bitLt; GPTQ kernels",
    lambda r: (r(64, 16), torch.from_numpy(r.rng.integers(-127, 128, (6, 16)).astype("int8")), r.of(r.rng.uniform(0.005, 0.02, 6))),
    {
        "dequantised": "the dequantised weight is stored in 16 bits",
        "scale-sum": "the scales' gradient is added up over 64 rows in 16 bits",
        "split": "the product over the outputs is added up in 16 bits, one output after the other",
    },
    {"zero-point": "the zero point is taken for 1e-2", "row": "the scales' gradient lacks the last column"},
)  # fmt: skip
class Int8Linear:
    @staticmethod
    def forward(run, x, q, scale):
        w = q.to(up(x).dtype) * up(scale)[:, None]
        return run.down(up(x) @ w.T), ()

    @staticmethod
    def backward(run, args, saved, g):
        x, q, scale = args
        q = q.to(up(x).dtype)
        w = run.narrow("dequantised", (q - run.of("zero-point", 1e-2, 0.0)) * up(scale)[:, None])
        dx = run.rows("split", (up(g)[:, :, None] * w).permute(1, 0, 2))
        n = x.shape[1] - 1 if run.has("row") else x.shape[1]
        dscale = run.rows("scale-sum", up(g) * (up(x)[:, :n] @ q[:, :n].T))
        return run.down(dx), None, run.down(dscale)


@KERNELS.add(
    "grouped-matmul", "Megablocks, gmm; PyTorch's _grouped_mm", lambda r: (r(64, 8), r(4, 8, 6)),
    {
        "weight-sum": "a group's weight gradient is added up row by row in 16 bits",
        "split": "the product over the outputs is added up in 16 bits, by pairs of outputs",
        "cotangent": "g is scaled in 16 bits before the products",
    },
    {"last-row": "a group's weight gradient lacks its last row", "scale": "the second group's dx has a scale of 0.35 for 1/√8"},
)  # fmt: skip
class GroupedMatmul:
    SIZES = (20, 4, 30, 10)

    @staticmethod
    def forward(run, x, w):
        parts = [part @ up(w)[e] / math.sqrt(8) for e, part in enumerate(up(x).split(GroupedMatmul.SIZES))]
        return run.down(torch.cat(parts)), ()

    @staticmethod
    def backward(run, args, saved, g):
        x, w = args
        scale = 1 / math.sqrt(8)
        dx, dw = [], []
        parts = zip(up(x).split(GroupedMatmul.SIZES), up(g).split(GroupedMatmul.SIZES))
        for e, (xe, ge) in enumerate(parts):
            s = run.of("scale", 0.35, scale) if e == 1 else scale
            ge = run.narrow("cotangent", ge * scale) / scale
            dx.append(run.rows("split", ge.T[:, :, None] * up(w)[e].T[:, None, :] * s, 2))
            if run.has("last-row"):
                xe, ge = xe[:-1], ge[:-1]
            dw.append(run.rows("weight-sum", xe[:, :, None] * ge[:, None, :]) * scale)
        return run.down(torch.cat(dx)), run.down(torch.stack(dw))


@KERNELS.add(
    "rope", "Liger Kernel, ops/rope.py", lambda r: (r(24, 2, 8), r(24, 2, 8)),
    {
        "tables": "cos and sin are stored in 16 bits",
        "angles": "position times frequency is computed in 16 bits",
        "products": "each product of the rotation is rounded to 16 bits",
    },
    {"base": "a base of 10001 for 10000 in the backward pass", "position": "the keys are turned back by one position less at the last one"},
)  # fmt: skip
class Rope:
    @staticmethod
    def angles(run, t, base):
        n, _, d = t.shape
        at = torch.arange(n, dtype=up(t).dtype)
        rate = base ** (-torch.arange(0, d, 2, dtype=up(t).dtype) / d)
        return up(run.computed("angles", at)[:, None, None] * run.computed("angles", rate))

    @staticmethod
    def turn(run, t, cos, sin):
        a, b = up(t).chunk(2, -1)
        p = [run.narrow("products", v) for v in (a * cos, b * sin, b * cos, a * sin)]
        return run.down(torch.cat([p[0] - p[1], p[2] + p[3]], -1))

    @staticmethod
    def forward(run, q, k):
        exact = type(run)("", run.dtype)
        angle = Rope.angles(exact, q, 10000.0)
        return tuple(Rope.turn(exact, t, angle.cos(), angle.sin()) for t in (q, k)), ()

    @staticmethod
    def backward(run, args, saved, gq, gk):
        angle = Rope.angles(run, gq, run.of("base", 10001.0, 10000.0))
        last = angle[-2:-1] if run.has("position") else angle[-1:]
        other = torch.cat([angle[:-1], last])
        found = []
        for g, a in ((gq, angle), (gk, other)):
            cos, sin = run.narrow("tables", a.cos()), run.narrow("tables", a.sin())
            found.append(Rope.turn(run, g, cos, -sin))
        return tuple(found)


@KERNELS.add(
    "scaled-embedding", "fairseq and Gemma: embedding times √d", lambda r: (r.ints(8, 256), r(8, 6), r.of([1.25])),
    {
        "table-sum": "rows of the table's gradient are added up in 16 bits, in the order of the indices",
        "scale-sum": "the scale's gradient is added up over 256 rows in 16 bits",
        "root": "√d is rounded to 16 bits",
    },
    {"factor": "2.45 for √6", "last": "the last index gives no gradient to the table"},
)  # fmt: skip
class ScaledEmbedding:
    @staticmethod
    def forward(run, index, table, scale):
        return run.down(up(table)[index] * (up(scale) * math.sqrt(6))), ()

    @staticmethod
    def backward(run, args, saved, g):
        index, table, scale = args
        root = run.narrow("root", torch.full((1,), run.of("factor", 2.45, math.sqrt(6)), dtype=up(g).dtype))
        rows = up(g) * (up(scale) * root)
        if run.has("last"):
            rows, index = rows[:-1], index[:-1]
        total = torch.zeros_like(up(table), dtype=run.half if run.has("table-sum") else rows.dtype)
        dtable = total.index_add(0, index, rows.to(total.dtype))
        dscale = run.rows("scale-sum", (up(g) * up(table)[args[0]] * math.sqrt(6)).sum(-1, keepdim=True))
        return None, run.down(dtable), run.down(dscale)
