# ruff: noqa: E501 - one entry, one line: a table
"""Mixtures of experts: combination and gates."""

from __future__ import annotations

import torch

from ..catalogue import Kernels, up

KERNELS = Kernels()


@KERNELS.add(
    "moe-combine", "Megablocks, scatter; vLLM's fused MoE: the weighted sum of two experts' rows",
    lambda r: (r(64, 8), r.ints(64, 32, 2), r.pos(32, 2)),
    {
        "weight-dot": "the weights' gradient is added up over the columns in 16 bits",
        "rows-sum": "rows that several tokens take are added up in 16 bits",
        "product": "weight times cotangent is stored in 16 bits before rows are added up",
    },
    {"weights": "the weights are short by 1e-3 in the rows' gradient", "second": "the second expert's weight has the first one's gradient at the last token"},
)  # fmt: skip
class MoECombine:
    @staticmethod
    def forward(run, rows, index, weights):
        taken = up(rows)[index]
        return run.down((taken * up(weights)[:, :, None]).sum(1)), ()

    @staticmethod
    def backward(run, args, saved, g):
        rows, index, weights = args
        terms = run.narrow("product", up(g)[:, None, :] * up(weights)[:, :, None] * run.of("weights", 0.999, 1.0))
        total = torch.zeros(rows.shape, dtype=run.half if run.has("rows-sum") else terms.dtype)
        drows = total.index_add(0, index.reshape(-1), terms.reshape(-1, rows.shape[1]).to(total.dtype))
        taken = up(rows)[index]
        dw = run.rows("weight-dot", (taken * up(g)[:, None, :]).permute(2, 0, 1))
        if run.has("second"):
            dw = torch.cat([dw[:-1], dw[-1:, :1].expand(1, 2)])
        return run.down(drows), None, run.down(dw)


@KERNELS.add(
    "top-k-gate", "DeepSeek-V3's gate: sigmoid scores, the best three, normalised", lambda r: (r.of(2 * r.rng.standard_normal((64, 8))),),
    {
        "total": "the sum of the chosen scores is stored in 16 bits",
        "score": "the scores are stored in 16 bits before 1 - s is taken",
        "weights": "the normalised weights are saved in 16 bits",
    },
    {"projection": "the term of the normaliser is short by 1e-3", "eps": "the backward pass adds 1e-4 to the sum"},
)  # fmt: skip
class TopKGate:
    @staticmethod
    def forward(run, x):
        s = torch.sigmoid(up(x))
        chosen, index = s.topk(3, -1)
        w = chosen / chosen.sum(-1, keepdim=True)
        return run.down(w), (index,)

    @staticmethod
    def backward(run, args, saved, g):
        (x,), (index,) = args, saved
        s = run.narrow("score", torch.sigmoid(up(x)))
        chosen = s.gather(-1, index)
        total = run.narrow("total", chosen.sum(-1, keepdim=True) + run.of("eps", 1e-4, 0.0))
        w = run.narrow("weights", chosen / total)
        d = (up(g) - (up(g) * w).sum(-1, keepdim=True) * run.of("projection", 0.999, 1.0)) / total
        full = torch.zeros_like(s).scatter(-1, index, d)
        return (run.down(full * s * (1 - s)),)


@KERNELS.add(
    "balance-loss", "Switch Transformer's load balancing with z-loss, fused (Megablocks)",
    lambda r: (r.of(2 * r.rng.standard_normal((128, 6))),),
    {
        "probability": "the probabilities are stored in 16 bits",
        "lse": "the log-sum-exp is saved in 16 bits",
        "density": "the experts' densities are added up over 128 tokens in 16 bits",
    },
    {"z-loss": "the term of z-loss is short by 1e-3", "mean": "the densities divide by 127 tokens in the backward pass"},
)  # fmt: skip
class BalanceLoss:
    @staticmethod
    def parts(x):
        top = up(x).amax(-1, keepdim=True)
        lse = top + (up(x) - top).exp().sum(-1, keepdim=True).log()
        return lse, (up(x) - lse).exp()

    @staticmethod
    def forward(run, x):
        lse, p = BalanceLoss.parts(x)
        density = p.mean(0)
        return run.down((density * density).sum() * 6 + 0.01 * lse.pow(2).mean()), (run.narrow("lse", lse),)

    @staticmethod
    def backward(run, args, saved, g):
        (x,), (lse,) = args, saved
        p = run.narrow("probability", (up(x) - lse).exp())
        density = run.rows("density", p) / run.of("mean", 127, 128)
        dp = 12 * density / 128
        d = p * (dp - (p * dp).sum(-1, keepdim=True)) + p * lse * (0.02 * run.of("z-loss", 0.999, 1.0) / 128)
        return (run.down(up(g) * d),)
