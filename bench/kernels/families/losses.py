# ruff: noqa: E501 - one entry, one line: a table
"""Softmax and what is made of it: losses, divergences, gates."""

from __future__ import annotations

import math

import torch

from ..catalogue import Kernels, up

KERNELS = Kernels()


def lse(z):
    """The logarithm of the row's sum of exponentials, by its maximum."""
    top = z.amax(-1, keepdim=True)
    return top + (z - top).exp().sum(-1, keepdim=True).log()


def one_hot(target, n, dtype):
    return (torch.arange(n) == target[:, None]).to(dtype)


@KERNELS.add(
    "softmax", "Triton tutorial 02-fused-softmax", lambda r: (r.of(2 * r.rng.standard_normal((32, 24))),),
    {
        "output": "the probabilities are saved in 16 bits, as the output is",
        "dot": "the product with the cotangent is added up in 16 bits, one column after the other",
        "terms": "p·g and p·⟨p, g⟩ are stored in 16 bits before their difference",
    },
    {"last-column": "⟨p, g⟩ lacks the last column", "scale": "a scale of 0.7071 for 1/√2 in the backward pass"},
)  # fmt: skip
class Softmax:
    @staticmethod
    def forward(run, x):
        z = up(x) * math.sqrt(0.5)
        p = (z - z.amax(-1, keepdim=True)).exp()
        p = p / p.sum(-1, keepdim=True)
        return run.down(p), (run.narrow("output", p),)

    @staticmethod
    def backward(run, args, saved, g):
        (p,) = saved
        n = p.shape[-1] - run.has("last-column")
        dot = run.rows("dot", (up(g) * p)[:, :n].T)[:, None]
        d = run.narrow("terms", p * up(g)) - run.narrow("terms", p * dot)
        return (run.down(d * run.of("scale", 0.7071, math.sqrt(0.5))),)


@KERNELS.add(
    "cross-entropy", "Liger Kernel, ops/cross_entropy.py: logits scaling, z-loss",
    lambda r: (r.of(4 * r.rng.standard_normal((32, 24))), r.ints(24, 32)),
    {
        "lse": "the row's log-sum-exp is saved in 16 bits",
        "probability": "the probabilities are stored in 16 bits before 1 is taken off",
        "logits": "the scaled logits are stored in 16 bits in the backward pass",
    },
    {"z-loss": "the term of z-loss lacks its factor 2", "label": "0.999 is taken off at the label"},
)  # fmt: skip
class CrossEntropy:
    SCALE, Z = 0.75, 1e-3

    @staticmethod
    def forward(run, x, target):
        z = up(x) * CrossEntropy.SCALE
        total = lse(z)
        loss = total[:, 0] - z.gather(-1, target[:, None])[:, 0] + CrossEntropy.Z * total[:, 0] ** 2
        return run.down(loss), (run.narrow("lse", total),)

    @staticmethod
    def backward(run, args, saved, g):
        (x, target), (total,) = args, saved
        z = run.narrow("logits", up(x) * CrossEntropy.SCALE)
        p = run.narrow("probability", (z - total).exp())
        d = p * (1 + run.of("z-loss", 1.0, 2.0) * CrossEntropy.Z * total)
        d = d - run.of("label", 0.999, 1.0) * one_hot(target, x.shape[-1], d.dtype)
        return run.down(up(g)[:, None] * d * CrossEntropy.SCALE), None


@KERNELS.add(
    "label-smoothing", "FlashAttention, ops/triton/cross_entropy.py: mean over rows, ignored labels",
    lambda r: (r.of(3 * r.rng.standard_normal((32, 24))), r.ints(24, 32)),
    {
        "lse": "the row's log-sum-exp is saved in 16 bits",
        "smoothed": "p less the smoothed target is taken in 16 bits",
        "mean": "g over the number of rows is stored in 16 bits",
    },
    {"classes": "the smoothing divides by the number of classes less one", "ignored": "the mean divides by the rows with those ignored"},
)  # fmt: skip
class LabelSmoothing:
    EPS = 0.1

    @staticmethod
    def kept(target):
        return torch.arange(target.shape[0]) % 8 != 3

    @staticmethod
    def forward(run, x, target):
        z, eps, kept = up(x), LabelSmoothing.EPS, LabelSmoothing.kept(target)
        total = lse(z)
        loss = total[:, 0] - (1 - eps) * z.gather(-1, target[:, None])[:, 0] - eps * z.mean(-1)
        return run.down(torch.where(kept, loss, 0.0).sum() / 28), (run.narrow("lse", total),)

    @staticmethod
    def backward(run, args, saved, g):
        (x, target), (total,) = args, saved
        n, eps = x.shape[-1], LabelSmoothing.EPS
        p = (up(x) - total).exp()
        smooth = (1 - eps) * one_hot(target, n, p.dtype) + eps / run.of("classes", n - 1, n)
        d = up(run.computed("smoothed", p) - run.computed("smoothed", smooth))
        scale = run.narrow("mean", up(g) / run.of("ignored", 32, 28))
        return run.down(torch.where(LabelSmoothing.kept(target)[:, None], d * scale, 0.0)), None


@KERNELS.add(
    "kl-divergence", "Liger Kernel, ops/kl_div.py, with the softmax of a distillation loss in it",
    lambda r: (r.of(2 * r.rng.standard_normal((32, 16))), r.of(2 * r.rng.standard_normal((32, 16)))),
    {
        "difference": "q and p are stored in 16 bits before their difference",
        "student": "the student's log-sum-exp is saved in 16 bits",
        "log-ratio": "the log of the ratio is stored in 16 bits before its mean is taken off",
    },
    {"temperature": "a temperature of 2.001 for 2 in the backward pass", "teacher-mean": "the teacher's term is short by 1e-3 of its mean"},
)  # fmt: skip
class KLDivergence:
    T = 2.0

    @staticmethod
    def logs(student, teacher, t):
        s, r = up(student) / t, up(teacher) / t
        return s, r, lse(s), lse(r)

    @staticmethod
    def forward(run, student, teacher):
        s, r, ls, lr = KLDivergence.logs(student, teacher, KLDivergence.T)
        loss = ((r - lr).exp() * ((r - lr) - (s - ls))).sum(-1)
        return run.down(loss), (run.narrow("student", ls), lr)

    @staticmethod
    def backward(run, args, saved, g):
        (student, teacher), (ls, lr) = args, saved
        t = run.of("temperature", 2.001, KLDivergence.T)
        log_q, log_p = up(student) / KLDivergence.T - ls, up(teacher) / KLDivergence.T - lr
        q, p = log_q.exp(), log_p.exp()
        ratio = log_p - log_q
        mean = (p * ratio).sum(-1, keepdim=True) * run.of("teacher-mean", 0.999, 1.0)
        scale = up(g)[:, None] / t
        ds = scale * (run.narrow("difference", q) - run.narrow("difference", p))
        return run.down(ds), run.down(scale * p * (run.narrow("log-ratio", ratio) - mean))


@KERNELS.add(
    "jensen-shannon", "Liger Kernel, ops/jsd.py",
    lambda r: (r.of(2 * r.rng.standard_normal((32, 16))), r.of(2 * r.rng.standard_normal((32, 16)))),
    {
        "mixture": "the mixture of the two is stored in 16 bits",
        "student": "the student's probabilities are stored in 16 bits",
        "logs": "log q and log m are stored in 16 bits before their difference",
    },
    {"beta": "a weight of 0.301 for 0.3 in the mixture of the backward pass", "projection": "the mean that is taken off is short by 1e-3"},
)  # fmt: skip
class JensenShannon:
    BETA = 0.3

    @staticmethod
    def forward(run, student, teacher):
        b = JensenShannon.BETA
        log_q, log_p = up(student) - lse(up(student)), up(teacher) - lse(up(teacher))
        log_m = ((1 - b) * log_q.exp() + b * log_p.exp()).log()
        loss = b * (log_p.exp() * (log_p - log_m)).sum(-1) + (1 - b) * (log_q.exp() * (log_q - log_m)).sum(-1)
        return run.down(loss), (lse(up(student)), lse(up(teacher)))

    @staticmethod
    def backward(run, args, saved, g):
        (student, teacher), (ls, lp) = args, saved
        b = run.of("beta", 0.301, JensenShannon.BETA)
        log_q, log_p = up(student) - ls, up(teacher) - lp
        q, p = run.narrow("student", log_q.exp()), log_p.exp()
        log_m = run.narrow("mixture", (1 - b) * q + b * p).log()
        found = []
        for log_x, x, w in ((log_q, q, 1 - JensenShannon.BETA), (log_p, p, JensenShannon.BETA)):
            # The terms of the mixture's own slope add up to 0.
            ratio = run.narrow("logs", log_x) - run.narrow("logs", log_m)
            mean = (x * ratio).sum(-1, keepdim=True) * run.of("projection", 0.999, 1.0)
            found.append(run.down(up(g)[:, None] * w * x * (ratio - mean)))
        return tuple(found)


@KERNELS.add(
    "focal-loss", "torchvision, sigmoid_focal_loss; MMCV's CUDA kernel", lambda r: (r.of(2 * r.rng.standard_normal(256)), r.ints(2, 256)),
    {
        "probability": "p is stored in 16 bits before 1 - p is taken",
        "log": "log p is stored in 16 bits",
        "weight": "(1 - p)^γ is stored in 16 bits",
    },
    {"gamma": "γ is 2.001 for 2 in the slope of the weight", "alpha": "the negatives' α is 0.749 for 0.75"},
)  # fmt: skip
class FocalLoss:
    @staticmethod
    def forward(run, x, target):
        y = (2 * target - 1).to(up(x).dtype)
        alpha = torch.where(target == 1, 0.25, 0.75)
        z = up(x) * y
        return run.down(alpha * torch.sigmoid(-z) ** 2 * torch.nn.functional.softplus(-z)), ()

    @staticmethod
    def backward(run, args, saved, g):
        x, target = args
        y = (2 * target - 1).to(up(x).dtype)
        alpha = torch.where(target == 1, 0.25, run.of("alpha", 0.749, 0.75))
        z = up(x) * y
        p, rest = torch.sigmoid(z), torch.sigmoid(-z)
        if run.has("probability"):
            p = run.narrow("probability", p)
            rest = 1 - p
        loss = run.narrow("log", torch.nn.functional.softplus(-z))
        weight = run.narrow("weight", rest * rest)
        d = -weight * (run.of("gamma", 2.001, 2.0) * p * loss + rest)
        return run.down(up(g) * alpha * y * d), None


@KERNELS.add(
    "squared-hinge", "scikit-learn's squared hinge as a Triton kernel (one against all)",
    lambda r: (r.of(100 + r.rng.standard_normal((32, 8))), r.of(100 + r.rng.standard_normal((32, 1)))),
    {
        "difference": "the difference of scores near 100 is taken in 16 bits",
        "margin": "the margin is stored in 16 bits",
        "anchor-sum": "the anchor's gradient is added up in 16 bits, one column after the other",
    },
    {"offset": "a margin of 1.001 for 1 in the backward pass", "last": "the anchor's gradient lacks the last column"},
)  # fmt: skip
class SquaredHinge:
    @staticmethod
    def forward(run, x, anchor):
        return run.down((1 + up(x) / 3 - up(anchor) / 3).clamp(min=0) ** 2), ()

    @staticmethod
    def backward(run, args, saved, g):
        x, anchor = args
        third = 1.0 / 3.0
        apart = up(run.computed("difference", up(x) * third) - run.computed("difference", up(anchor) * third))
        margin = run.narrow("margin", (run.of("offset", 1.001, 1.0) + apart).clamp(min=0))
        d = 2 * third * up(g) * margin
        n = d.shape[1] - run.has("last")
        return run.down(d), run.down(-run.rows("anchor-sum", d[:, :n].T)[:, None])


@KERNELS.add(
    "group-gate", "Group-wise softmax gating of a mixer (RetNet, gMLP): each group of channels is weighted by its softmax",
    lambda r: (r.of(2 * r.rng.standard_normal((32, 12))), r(32, 12)),
    {
        "weights": "the weights are saved in 16 bits",
        "dot": "the group's product is kept in 16 bits",
        "difference": "g·v less the group's product is taken in 16 bits",
    },
    {"mean": "the group's product is short by 1e-3", "groups": "the last group's product lacks its last channel"},
)  # fmt: skip
class GroupGate:
    @staticmethod
    def forward(run, z, v):
        z = up(z).reshape(32, 3, 4)
        p = (z - lse(z)).exp().reshape(32, 12)
        return run.down(p * up(v)), (run.narrow("weights", p),)

    @staticmethod
    def backward(run, args, saved, g):
        (_, v), (p,) = args, saved
        a, p = (up(g) * up(v)).reshape(32, 3, 4), p.reshape(32, 3, 4)
        terms = a * p
        if run.has("groups"):
            terms = torch.cat([terms[:, :2], torch.cat([terms[:, 2:, :3], terms[:, 2:, 3:] * 0], -1)], 1)
        dot = run.narrow("dot", terms.sum(-1, keepdim=True)) * run.of("mean", 0.999, 1.0)
        d = up(run.computed("difference", a) - run.computed("difference", dot))
        return run.down((p * d).reshape(32, 12)), run.down(up(g) * p.reshape(32, 12))
