# ruff: noqa: E501 - one entry, one line: a table
"""What PyTorch's OpInfo samples are about, as mistakes of one's own: buffers that are updated, parts of storages, scatters,
decompositions cut off at a tolerance, conjugate transposes, running logarithms, paddings, pooling by indices.

Each has its mended twin, which is as odd a function as the samples are: it is the twin that a checker easily calls wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..catalogue import Rand, Table

T2, T3, T5, T7, T8, T11, T12, T16, T17, T22 = (Table(k) for k in (2, 3, 5, 7, 8, 11, 12, 16, 17, 22))
F64, C128 = torch.float64, torch.complex128
Rule = Callable[..., Any]


def plain(r: Rand, *shape: int) -> Any:
    """Numbers that are not differentiated: running statistics, weights."""
    return r.pos(*shape).detach()


def complex_(r: Rand, *shape: int) -> Any:
    return torch.complex(r(*shape).detach(), r(*shape).detach()).requires_grad_()


# ---- buffers that are no differentiated input ------------------------------------------------------------------------


def _updating(update: Rule, spoil: Rule = lambda g, x, mean: g) -> Callable[[], Rule]:
    """x less a running mean, which the forward pass then moves by `update`."""

    def make() -> Rule:
        class Centred(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, x: Any, mean: Any) -> Any:
                ctx.save_for_backward(x, mean.clone())
                out = (x - mean) ** 2
                update(mean, x)
                return out

            @staticmethod
            def backward(ctx: Any, g: Any) -> Any:
                x, mean = ctx.saved_tensors
                return spoil(2 * g * (x - mean), x, mean), None

        return Centred.apply

    return make


_RUNNING = lambda mean, x: mean.mul_(0.9).add_(x.detach().mean(0), alpha=0.1)
T5.add("sample-buffer-in-data", "a running mean is overwritten through .data: whoever saved it before gets another one", _updating(lambda mean, x: mean.data.copy_(x.detach().mean(0))), lambda r: (r(5, 3), plain(r, 3)), _updating(_RUNNING), quick=True)  # fmt: skip
T5.add("sample-momentum-in-gradient", "an exponential average is updated, and its momentum is in the gradient", _updating(_RUNNING, lambda g, x, mean: 0.9 * g), lambda r: (r(4, 2), plain(r, 2)), _updating(_RUNNING))  # fmt: skip


# ---- scatters and pooling ---------------------------------------------------------------------------------------------


def _strip(x: Any, v: Any) -> Any:
    """`v` in place of every third entry."""
    out = x.clone()
    out[::3] = v
    return out


def _masked(g: Any, keep: bool) -> Any:
    mask = torch.zeros(g.shape[0], dtype=torch.bool)
    mask[::3] = True
    return torch.where(mask == keep, g, torch.zeros_like(g))


T16.pair("sample-scatter-keeps-overwritten", "the entries that are written over keep their gradient, the others lose it", _strip, lambda g, o, x, v: (_masked(g, True), g[::3]), lambda g, o, x, v: (_masked(g, False), g[::3]), lambda r: (r(7), r(3)), quick=True)  # fmt: skip
T16.pair("sample-scatter-passes-both", "the entries that are written over have a gradient as well", _strip, lambda g, o, x, v: (g.clone(), g[::3]), lambda g, o, x, v: (_masked(g, False), g[::3]), lambda r: (r(8), r(3)))  # fmt: skip


def _spread(x: Any, where: Any) -> Any:
    """The entries of each row to their places in a row of nine."""
    return torch.zeros(x.shape[0], 9, dtype=x.dtype).scatter(1, where, x)


PLACES = lambda r: (r(2, 3), torch.tensor([[0, 4, 8], [7, 2, 3]]))
T16.pair("sample-unpool-first-row", "each row takes its gradient from the first row's places", _spread, lambda g, o, x, k: g.gather(1, k[:1].expand(k.shape)), lambda g, o, x, k: g.gather(1, k), PLACES, quick=True)  # fmt: skip
T12.pair("sample-unpool-view-of-indices", "the backward pass reads the memory of indices as rows", _spread, lambda g, o, x, k: g.gather(1, torch.as_strided(k, k.shape, (k.shape[1], 1))), lambda g, o, x, k: g.gather(1, k), PLACES, elsewhere="indices that are not contiguous")  # fmt: skip


# ---- parts of a storage -----------------------------------------------------------------------------------------------


def _window(x: Any) -> Any:
    """Overlapping windows of three, by strides."""
    n = x.numel() - 2
    return x.contiguous().as_strided((n, 3), (1, 1)).square().sum(1)


def _window_rule(add: bool) -> Rule:
    def rule(g: Any, o: Any, x: Any) -> Any:
        out = torch.zeros_like(x)
        for k in range(3):
            part = 2 * g * x[k : k + len(g)]
            out[k : k + len(g)] = out[k : k + len(g)] + part if add else part
        return out

    return rule


T16.pair("sample-windows-overwrite", "overlapping windows overwrite each other's gradient", _window, _window_rule(False), _window_rule(True), lambda r: (r(6),))  # fmt: skip
T12.pair("sample-part-of-complex-storage", "the imaginary half of a part of a storage is scaled by the number of entries before it", lambda z: z * z, lambda g, o, z: torch.complex((2 * g * z.conj()).real, (2 * g * z.conj()).imag * (1 + z.storage_offset())), lambda g, o, z: 2 * g * z.conj(), lambda r: (complex_(r, 9).detach()[4:].requires_grad_(),), elsewhere="a part of a storage")  # fmt: skip


# ---- linear algebra ---------------------------------------------------------------------------------------------------


def _best_rank_one(a: Any) -> Any:
    u, s, vh = torch.linalg.svd(a, full_matrices=False)
    return s[..., :1, None] * u[..., :, :1] @ vh[..., :1, :]


def _projected(g: Any, a: Any) -> Any:
    u, _, vh = torch.linalg.svd(a, full_matrices=False)
    return u[..., :, :1] @ (u[..., :, :1].mT @ g @ vh[..., :1, :].mT) @ vh[..., :1, :]


T2.pair("sample-low-rank-projected", "the best approximation of rank one: its gradient is only projected, as if the subspaces stood still", _best_rank_one, lambda g, o, a: _projected(g, a), None, lambda r: (r(3, 3),), quick=True)  # fmt: skip


def _low(a: Any) -> Any:
    """The lower triangle with a diagonal that is real and positive."""
    return a.tril(-1) + torch.diag_embed(a.diagonal(dim1=-2, dim2=-1).abs() + 1)


T7.pair("sample-gram-transposed", "L Lᴴ: the cotangent is transposed, not conjugated", lambda a: a @ a.mH, lambda g, o, a: (g + g.mT) @ a, lambda g, o, a: (g + g.mH) @ a, lambda r: (complex_(r, 2, 3),))  # fmt: skip
T7.pair("sample-triangular-solve-conjugate", "x of L x = b: db is solved with the transpose of L", lambda a, b: torch.linalg.solve_triangular(_low(a), b, upper=False), lambda g, o, a, b: (None, torch.linalg.solve_triangular(_low(a).mT, g, upper=True)), lambda g, o, a, b: (None, torch.linalg.solve_triangular(_low(a).mH, g, upper=True)), lambda r: (complex_(r, 2, 2).detach(), complex_(r, 2, 1)))  # fmt: skip
T7.pair("sample-length-of-real-part", "the square root of 1 + |x|²: the real part of x only", lambda x: (x.abs() ** 2 + 1).sqrt(), lambda g, o, x: g * x.real / o, lambda g, o, x: g * x / o, lambda r: (complex_(r, 3),))  # fmt: skip


# ---- running logarithms, normalisations -------------------------------------------------------------------------------


def _suffix(x: Any) -> Any:
    """log of the sum of exponentials from each entry on."""
    return torch.logcumsumexp(x.flip(0), 0).flip(0)


def _suffix_rule(shift: bool) -> Rule:
    def rule(g: Any, o: Any, x: Any) -> Any:
        later = torch.arange(len(x))[None, :] >= torch.arange(len(x))[:, None] + (1 if shift else 0)
        return (torch.where(later, x[None, :], -torch.inf).softmax(1) * g[:, None]).nansum(0)

    return rule


T2.pair("sample-suffix-without-itself", "the log-sum-exp of a suffix: the entry itself is left out", _suffix, _suffix_rule(True), _suffix_rule(False), lambda r: (r(6),))  # fmt: skip
T11.pair("sample-suffix-through-exp", "the log-sum-exp of a suffix through exp(x)/exp(out), which overflows from 710 on", _suffix, lambda g, o, x: (x.exp() * (g * (-o).exp()).cumsum(0)), _suffix_rule(False), lambda r: (r.of([300.0, 2.0, 711.0, -4.0]),))  # fmt: skip


def _norm(x: Any, eps: float) -> Any:
    d = x - x.mean(-1, keepdim=True)
    return d / (d.square().mean(-1, keepdim=True) + eps).sqrt()


def _norm_rule(of_eps: Rule) -> Rule:
    def rule(g: Any, o: Any, x: Any, eps: float) -> Any:
        d = x - x.mean(-1, keepdim=True)
        scale = (d.square().mean(-1, keepdim=True) + of_eps(eps)).rsqrt()
        h = d * scale
        return scale * (g - g.mean(-1, keepdim=True) - h * (g * h).mean(-1, keepdim=True)), None

    return rule


T2.pair("sample-norm-large-eps-clipped", "a normalisation whose backward pass takes an eps above 1 for 1", _norm, _norm_rule(lambda e: min(e, 1.0)), _norm_rule(lambda e: e), lambda r: (r(2, 5), 4.0), quick=True)  # fmt: skip
T2.pair("sample-norm-no-eps", "a normalisation without eps, whose backward pass has one of 1e-5", _norm, _norm_rule(lambda e: max(e, 1e-5)), _norm_rule(lambda e: e), lambda r: (r(2, 5), 0.0))  # fmt: skip


# ---- keywords, paddings, values by an identity ------------------------------------------------------------------------


def _with_options(wrong: bool) -> Callable[[], Rule]:
    def make() -> Rule:
        class Scaled(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, x: Any, options: float, fn: float) -> Any:
                ctx.save_for_backward(x)
                ctx.scale = options, fn
                return (options * x).sin() * fn

            @staticmethod
            def backward(ctx: Any, g: Any) -> Any:
                (x,) = ctx.saved_tensors
                options, fn = ctx.scale
                return g * (options * x).cos() * fn * (1.0 if wrong else options), None, None

        return lambda x, options=3.0, fn=0.5: Scaled.apply(x, options, fn)

    return make


T2.add("sample-options-forgotten", "sin(options·x)·fn: the inner factor is left out", _with_options(True), lambda r: (r(4), 3.0, 0.5), _with_options(False))  # fmt: skip
T3.pair("sample-padding-counts", "a padded sum of complex numbers: the cotangent of the padding is added to the first entry", lambda z: torch.nn.functional.pad(z, (1, 1), value=2.0), lambda g, o, z: torch.cat([g[:1] + g[1:2], g[2:-1]]), lambda g, o, z: g[1:-1], lambda r: (complex_(r, 4),))  # fmt: skip


def _excess(x: Any) -> Any:
    """What a softmax has beyond 1, clipped at 0, and x itself: the first is 0 but for rounding."""
    return torch.relu(x.softmax(-1).sum(-1, keepdim=True) - 1) + x * x


T8.pair("sample-excess-counts", "the part that is 0 by an identity is given the slope of exp", _excess, lambda g, o, x: 2 * g * x + g.sum(-1, keepdim=True) * x.exp(), lambda g, o, x: 2 * g * x, lambda r: (r(5),))  # fmt: skip


# ---- outputs that nobody asks for -------------------------------------------------------------------------------------


def _with_statistics(wrong: bool) -> Callable[[], Rule]:
    def make() -> Rule:
        class WithMean(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, x: Any) -> Any:
                mean = x.mean()
                ctx.mark_non_differentiable(mean)
                ctx.save_for_backward(x)
                return (x - mean) ** 2, mean

            @staticmethod
            def backward(ctx: Any, g: Any, _: Any) -> Any:
                (x,) = ctx.saved_tensors
                d = 2 * g * (x - x.mean())
                return d if wrong else d - d.mean()

        return WithMean.apply

    return make


T22.add("sample-saved-mean-fixed", "the mean beside the output requires no grad, and its share in the output's gradient is lost", _with_statistics(True), lambda r: (r(5),), _with_statistics(False))  # fmt: skip


# ---- second order -----------------------------------------------------------------------------------------------------


def _chunked(wrong: bool) -> Callable[[], Rule]:
    """The gradient is made in the forward pass, chunk by chunk."""

    def make() -> Rule:
        class Chunked(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, x: Any) -> Any:
                ctx.save_for_backward(x, x.softmax(-1).detach())
                return torch.stack([part.logsumexp(-1) for part in x]).sum()

            @staticmethod
            def backward(ctx: Any, g: Any) -> Any:
                x, p = ctx.saved_tensors
                return g * (p if wrong else x.softmax(-1))

        return Chunked.apply

    return make


T17.add("sample-chunked-gradient", "a loss whose gradient is made in the forward pass has a second derivative of 0", _chunked(True), lambda r: (r(2, 3),), _chunked(False), elsewhere="the second order")  # fmt: skip

ENTRIES = [*T2, *T3, *T5, *T7, *T8, *T11, *T12, *T16, *T17, *T22]
