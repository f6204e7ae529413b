# ruff: noqa: E501 - one entry, one line: a table
"""Normalisation: over a row, a group, a vector."""

from __future__ import annotations

import torch

from ..catalogue import Kernels, up

KERNELS = Kernels()


@KERNELS.add(
    "rms-norm", "Liger Kernel, ops/rms_norm.py", lambda r: (r(256, 8), r.pos(8)),
    {
        "weight-sum": "the weight's gradient is added up over 256 rows in 16 bits",
        "rstd": "the reciprocal root is saved in 16 bits",
        "mean-product": "the mean of g·w·x̂ is kept in 16 bits before the difference",
    },
    {"projection": "the term of the mean is short by 1e-3", "eps": "the backward pass adds eps to the root, not under it"},
)  # fmt: skip
class RMSNorm:
    @staticmethod
    def forward(run, x, w):
        rstd = torch.rsqrt(up(x).pow(2).mean(-1, keepdim=True) + 1e-5)
        return run.down(up(x) * rstd * up(w)), (run.narrow("rstd", rstd),)

    @staticmethod
    def backward(run, args, saved, g):
        (x, w), (rstd,) = args, saved
        if run.has("eps"):
            rstd = 1 / (up(x).pow(2).mean(-1, keepdim=True).sqrt() + 1e-5)
        h, gw = up(x) * rstd, up(g) * up(w)
        mean = run.narrow("mean-product", (gw * h).mean(-1, keepdim=True)) * run.of("projection", 0.999, 1.0)
        return run.down(rstd * (gw - h * mean)), run.down(run.rows("weight-sum", up(g) * h))


@KERNELS.add(
    "layer-norm", "Triton tutorial 05-layer-norm", lambda r: (r(256, 8), r.pos(8), r(8)),
    {
        "bias-sum": "the bias's gradient is added up in 16 bits, by blocks of 4 rows",
        "statistics": "mean and reciprocal root are saved in 16 bits",
        "normalised": "x̂ is saved in 16 bits",
    },
    {"unbiased": "the mean of g·w·x̂ divides by n - 1", "centre": "the mean of g·w is short by 1e-3"},
)  # fmt: skip
class LayerNorm:
    @staticmethod
    def forward(run, x, w, b):
        mean = up(x).mean(-1, keepdim=True)
        rstd = torch.rsqrt((up(x) - mean).pow(2).mean(-1, keepdim=True) + 1e-5)
        out = run.down((up(x) - mean) * rstd * up(w) + up(b))
        return out, (run.narrow("statistics", mean), run.narrow("statistics", rstd))

    @staticmethod
    def backward(run, args, saved, g):
        (x, w, _), (mean, rstd) = args, saved
        h, gw, n = run.narrow("normalised", (up(x) - mean) * rstd), up(g) * up(w), x.shape[-1]
        c1 = (gw * h).sum(-1, keepdim=True) / run.of("unbiased", n - 1, n)
        c2 = gw.mean(-1, keepdim=True) * run.of("centre", 0.999, 1.0)
        dx = rstd * (gw - h * c1 - c2)
        return run.down(dx), run.down((up(g) * h).sum(0)), run.down(run.rows("bias-sum", up(g), 4))


@KERNELS.add(
    "group-norm", "PyTorch, native/cuda/group_norm_kernel.cu", lambda r: (r(4, 8, 6), r.pos(8), r(8)),
    {
        "group-sums": "the sums over a group are kept in 16 bits",
        "rstd": "the reciprocal root is saved in 16 bits",
        "weight-sum": "the weight's gradient is added up over batch and positions in 16 bits",
    },
    {"count": "the mean over a group counts its channels only once more", "eps": "the backward pass has an eps of 1e-6, not 1e-5"},
)  # fmt: skip
class GroupNorm:
    @staticmethod
    def forward(run, x, w, b):
        n, c, m = x.shape
        parts = up(x).reshape(n, 4, c // 4 * m)
        mean = parts.mean(-1, keepdim=True)
        variance = (parts - mean).pow(2).mean(-1, keepdim=True)
        h = ((parts - mean) * torch.rsqrt(variance + 1e-5)).reshape(n, c, m)
        rstd = run.narrow("rstd", torch.rsqrt(variance + run.of("eps", 1e-6, 1e-5)))
        return run.down(h * up(w)[:, None] + up(b)[:, None]), (mean, rstd)

    @staticmethod
    def backward(run, args, saved, g):
        (x, w, _), (mean, rstd) = args, saved
        n, c, m = x.shape
        h = (up(x).reshape(n, 4, -1) - mean) * rstd
        gw = (up(g) * up(w)[:, None]).reshape(n, 4, -1)
        count = run.of("count", c // 4 * m + 1, c // 4 * m)
        c1 = run.narrow("group-sums", (gw * h).sum(-1, keepdim=True)) / count
        c2 = run.narrow("group-sums", gw.sum(-1, keepdim=True)) / count
        dx = (rstd * (gw - h * c1 - c2)).reshape(n, c, m)
        terms = (up(g) * h.reshape(n, c, m)).permute(0, 2, 1).reshape(n * m, c)
        return run.down(dx), run.down(run.rows("weight-sum", terms)), run.down(up(g).sum((0, 2)))


@KERNELS.add(
    "residual-norm", "Liger Kernel, ops/fused_add_rms_norm.py", lambda r: (r(256, 8), r(256, 8), r.pos(8)),
    {
        "rstd": "the reciprocal root is saved in 16 bits",
        "weight-sum": "the weight's gradient is added up in 16 bits, by blocks of 8 rows",
        "branches": "the norm's part of the gradient is stored in 16 bits before the residual's is added",
    },
    {"residual": "the residual's cotangent is short by 1e-3", "count": "the mean divides by n + 1"},
)  # fmt: skip
class ResidualNorm:
    @staticmethod
    def forward(run, x, residual, w):
        s = up(x) + up(residual)
        rstd = torch.rsqrt(s.pow(2).mean(-1, keepdim=True) + 1e-6)
        return (run.down(s * rstd * up(w)), run.down(s)), (run.narrow("rstd", rstd),)

    @staticmethod
    def backward(run, args, saved, g, gs):
        (x, residual, w), (rstd,) = args, saved
        s = up(x) + up(residual)
        h, gw, n = s * rstd, up(g) * up(w), x.shape[-1]
        ds = rstd * (gw - h * (gw * h).sum(-1, keepdim=True) / run.of("count", n + 1, n))
        ds = run.down(run.narrow("branches", ds) + up(gs) * run.of("residual", 0.999, 1.0))
        return ds, ds, run.down(run.rows("weight-sum", up(g) * h, 8))


@KERNELS.add(
    "weight-norm-linear", "PyTorch, native/cuda/WeightNorm.cu", lambda r: (r(64, 8), r(6, 8), r.pos(6)),
    {
        "norm": "the norms are saved in 16 bits",
        "weight-gradient": "the gradient of the whole weight is added up over 64 rows in 16 bits before it is projected",
        "projection": "the product with the direction is kept in 16 bits",
    },
    {"radial": "the radial part is short by 1e-3", "magnitude": "the magnitude's gradient lacks the last column"},
)  # fmt: skip
class WeightNormLinear:
    @staticmethod
    def forward(run, x, v, m):
        norm = up(v).pow(2).sum(-1, keepdim=True).sqrt()
        w = up(m)[:, None] * up(v) / norm
        return run.down(up(x) @ w.T), (run.narrow("norm", norm),)

    @staticmethod
    def backward(run, args, saved, g):
        (x, v, m), (norm,) = args, saved
        unit, scale = up(v) / norm, up(m)[:, None]
        dx = up(g) @ (scale * unit)
        dw = run.rows("weight-gradient", up(g)[:, :, None] * up(x)[:, None, :])
        along = run.narrow("projection", (dw * unit).sum(-1, keepdim=True))
        dv = scale / norm * (dw - unit * along * run.of("radial", 0.999, 1.0))
        dm = (dw * unit)[:, :-1].sum(-1) if run.has("magnitude") else along[:, 0]
        return run.down(dx), run.down(dv), run.down(dm)


@KERNELS.add(
    "cosine-similarity", "sentence-transformers' loss, fused; torch.nn.functional.normalize", lambda r: (r(64, 8), r(64, 8)),
    {
        "norms": "the norms are saved in 16 bits",
        "cosine": "the cosine is taken from the 16-bit output",
        "unit-vectors": "the unit vectors are saved in 16 bits",
    },
    {"radial": "the radial part is short by 1e-3", "eps": "an eps of 1e-4 is added to the norms in the backward pass alone"},
)  # fmt: skip
class CosineSimilarity:
    @staticmethod
    def forward(run, x, y):
        nx, ny = (up(t).pow(2).sum(-1, keepdim=True).sqrt() for t in (x, y))
        out = (up(x) / nx * (up(y) / ny)).sum(-1)
        return run.down(out), (run.narrow("norms", nx), run.narrow("norms", ny))

    @staticmethod
    def backward(run, args, saved, g):
        (x, y), (nx, ny) = args, saved
        if run.has("eps"):
            nx, ny = nx + 1e-4, ny + 1e-4
        ux, uy = run.narrow("unit-vectors", up(x) / nx), run.narrow("unit-vectors", up(y) / ny)
        cosine = run.narrow("cosine", (ux * uy).sum(-1, keepdim=True)) * run.of("radial", 0.999, 1.0)
        g = up(g)[:, None]
        return run.down(g / nx * (uy - cosine * ux)), run.down(g / ny * (ux - cosine * uy))


@KERNELS.add(
    "dynamic-tanh", "Liger Kernel, ops/dyt.py", lambda r: (r(256, 8), r.of([0.7]), r.pos(8), r(8)),
    {
        "tanh": "tanh is saved in 16 bits",
        "alpha-sum": "α's gradient is added up over 256 rows in 16 bits",
        "weight-sum": "γ's gradient is added up over 256 rows in 16 bits",
    },
    {"slope": "1 - 0.999·tanh² for 1 - tanh²", "alpha": "α's gradient lacks the first row"},
)  # fmt: skip
class DynamicTanh:
    @staticmethod
    def forward(run, x, alpha, w, b):
        t = torch.tanh(up(alpha) * up(x))
        return run.down(t * up(w) + up(b)), (run.narrow("tanh", t),)

    @staticmethod
    def backward(run, args, saved, g):
        (x, alpha, w, _), (t,) = args, saved
        # 1 - tanh² loses digits where tanh is near 1; that is the form of the public kernel.
        inner = up(g) * up(w) * (1 - t * t * run.of("slope", 0.999, 1.0))
        terms = (inner * up(x)).sum(-1, keepdim=True)
        dalpha = run.rows("alpha-sum", terms[1:] if run.has("alpha") else terms)
        dw = run.rows("weight-sum", up(g) * t)
        return run.down(inner * up(alpha)), run.down(dalpha), run.down(dw), run.down(up(g).sum(0))
