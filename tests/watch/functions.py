"""Custom Functions of PyTorch, right ones and others: what a project might have."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.autograd import Function


class Sin(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return g * x.cos()


class SlightlyWrongExp(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x.exp()

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return g * x.exp() + 1e-3 * g * x


class Spike(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, alpha: float = 2.0) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.alpha = alpha
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return g / (1 + (ctx.alpha * x) ** 2), None


class Round(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        return g


class Reverse(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scale: float) -> torch.Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        return -ctx.scale * g, None


class ClipGradient(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        return (2 * g).clamp(-0.1, 0.1)


class Clamp(Function):
    """The gradient goes through where it is flat: a clamp that is meant so, or a ReLU that lost its mask."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clamp(-0.5, 0.5)

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        return g


class Doubled(Function):
    """A factor that somebody forgot, or meant."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return 2 * g * (1 - x.tanh() ** 2)


class Inject(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gradient)
        return x.new_ones(())

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        return g * ctx.saved_tensors[0], None


class SymmetricSquare(Function):
    @staticmethod
    def forward(ctx: Any, m: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(m)
        return m @ m

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        (m,) = ctx.saved_tensors
        d = g @ m.T + m.T @ g
        return (d + d.T) / 2


class Two(Function):
    """Several outputs, setup_context, a generated vmap rule."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: torch.Tensor, y: torch.Tensor) -> Any:
        return x * y, x + y

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor, h: torch.Tensor) -> Any:
        x, y = ctx.saved_tensors
        return g * y + h, g * x + h


class InPlace(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.mark_dirty(x)
        return x.mul_(2)

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        return g * 2


class Root(Function):
    """The root of m² = y by bisection: the derivative of its last branches is not that of the root."""

    @staticmethod
    def forward(ctx: Any, y: torch.Tensor) -> torch.Tensor:
        low, high = torch.zeros_like(y), torch.full_like(y, 10.0)
        for _ in range(50):
            middle = (low + high) / 2
            above = middle * middle > y
            high, low = torch.where(above, middle, high), torch.where(above, low, middle)
        ctx.save_for_backward(low)
        return low

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        return g / (2 * ctx.saved_tensors[0])


class Checkpoint(Function):
    """A module and its parameters: what is given is reached by two ways."""

    @staticmethod
    def forward(ctx: Any, run: Any, count: int, *tensors: torch.Tensor) -> torch.Tensor:
        ctx.run = run
        ctx.save_for_backward(*tensors[:count])
        ctx.parameters = tensors[count:]
        with torch.no_grad():
            return run(*tensors[:count])

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        inputs = [x.detach().requires_grad_() for x in ctx.saved_tensors]
        with torch.enable_grad():
            out = ctx.run(*inputs)
        return None, None, *torch.autograd.grad(out, [*inputs, *ctx.parameters], g)


class ForgetfulCheckpoint(Checkpoint):
    """Loses half of each parameter's gradient."""

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        first, second, x, *rest = Checkpoint.backward(ctx, g)
        return first, second, x, *(d / 2 for d in rest)


class CheckpointOfAnotherInput(Checkpoint):
    """Right in its parameters; the halves of the input's gradient change places."""

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        first, second, x, *rest = Checkpoint.backward(ctx, g)
        return first, second, x.roll(x.shape[-1] // 2, -1), *rest


class Insisting(Checkpoint):
    """Works under .backward() alone, and frees the memory of its input."""

    @staticmethod
    def forward(ctx: Any, run: Any, count: int, *tensors: torch.Tensor) -> torch.Tensor:
        ctx.kept, ctx.given = tensors[0].detach().clone(), tensors[0]
        out = Checkpoint.forward(ctx, run, count, *tensors)
        with torch.no_grad():
            tensors[0].untyped_storage().resize_(0)
        return out

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        if not torch.autograd._is_checkpoint_valid():
            raise RuntimeError("not compatible with .grad(), please use .backward()")
        x = ctx.kept.requires_grad_()
        with torch.enable_grad():
            out = ctx.run(x)
        found = torch.autograd.grad(out, [x, *ctx.parameters], g)
        ctx.given.grad = found[0]  # by hand, as some do: of a leaf it would be added to
        return None, None, *found


class InsistingTwice(Insisting):
    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        first, second, x, *rest = Insisting.backward(ctx, g)
        return first, second, 2 * x, *rest


class Second(Function):
    """Right to the first order; its derivative is lost in silence."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return g * 3 * x.detach() ** 2


class Gauge(Function):
    """The sum of a softmax's entries is 1: right for a constant cotangent, wrong for others."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean()

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        return torch.zeros_like(g)


class Huber(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, target: torch.Tensor, delta: float = 2.0) -> torch.Tensor:
        ctx.save_for_backward(x, target)
        ctx.delta = delta
        d = x - target
        return torch.where(d.abs() <= delta, d * d / 2, delta * (d.abs() - delta / 2))

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        x, target = ctx.saved_tensors
        d = x - target
        return g * torch.where(d.abs() <= ctx.delta, d, ctx.delta * d.sign()), None, None


class ForgetfulHuber(Huber):
    """Its linear part forgets delta."""

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        x, target = ctx.saved_tensors
        d = x - target
        return g * torch.where(d.abs() <= ctx.delta, d, d.sign()), None, None


class Masked(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, mask)
        return torch.where(mask, x**3, 0)

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        x, mask = ctx.saved_tensors
        return torch.where(mask, 3 * x * x * g, 0), None


class SavedOfX(Function):
    """Takes x and what its caller made of it (a softmax, an argmax, a maximum), which its backward pass reads."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, made)
        return (x.softmax(-1) if made.shape == x.shape else x.amax(-1)) * 1.0

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        x, made = ctx.saved_tensors
        if made.shape == x.shape:
            return made * (g - (g * made).sum(-1, keepdim=True)), None
        if made.is_floating_point():
            made = (x == made[:, None]).int().argmax(-1)
        return torch.zeros_like(x).scatter(-1, made[:, None].long(), g[:, None]), None


class LogDet(Function):
    """By a Cholesky factor, which reads one triangle, with the symmetric gradient."""

    @staticmethod
    def forward(ctx: Any, m: torch.Tensor) -> torch.Tensor:
        lower = torch.linalg.cholesky(m.detach())
        ctx.save_for_backward(lower)
        return torch.from_numpy(np.array(2 * np.log(lower.diagonal().numpy()).sum()))  # out of the tracer's sight

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        (lower,) = ctx.saved_tensors
        return g * torch.cholesky_inverse(lower)


class WrongLogDet(LogDet):
    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        (lower,) = ctx.saved_tensors
        return g * 1.02 * torch.cholesky_inverse(lower)


class NaturalGaussian(Function):
    """Mean and deviation of a Gaussian from its natural parameters, with the gradient by its expectation parameters."""

    factor = 1.0

    @staticmethod
    def forward(ctx, a, b):
        mean, deviation = -a / (2 * b), (-1 / (2 * b)).sqrt()
        ctx.save_for_backward(mean, deviation)
        return mean, deviation

    @classmethod
    def backward(cls, ctx, gm, gs):
        mean, deviation = ctx.saved_tensors
        return gm - cls.factor * gs * mean / deviation, gs / (2 * deviation)


class WrongNaturalGaussian(NaturalGaussian):
    factor = 0.5


class Preconditioned(Function):
    """A linear map, whose gradient is smoothed along the axis."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(w)
        return x @ w

    @staticmethod
    def backward(ctx, g):
        (w,) = ctx.saved_tensors
        d = g @ w.T
        return (d + 0.25 * (d.roll(1, -1) + d.roll(-1, -1))), None


class NaturalCholesky(Function):
    """A Cholesky factor, with the gradient by the inverse's entries: P is (S ⊗ S) on symmetric matrices."""

    @staticmethod
    def forward(ctx, x):
        factor = torch.linalg.cholesky(x)
        ctx.save_for_backward(x)
        return factor

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            y = x.detach().requires_grad_()
            (d,) = torch.autograd.grad(torch.linalg.cholesky(y), y, g)
        return x @ d @ x


class ForgetfulNorm(Function):
    """Standardised rows, whose rule leaves a term out: J·R is symmetric and positive, and R is not 0 where Jᵀ is."""

    @staticmethod
    def forward(ctx, x):
        centred = x - x.mean(-1, keepdim=True)
        deviation = centred.pow(2).mean(-1, keepdim=True).sqrt()
        ctx.save_for_backward(deviation)
        return centred / deviation

    @staticmethod
    def backward(ctx, g):
        (deviation,) = ctx.saved_tensors
        return (g - g.mean(-1, keepdim=True)) / deviation


class HalfWrongProduct(Function):
    """A product of matrices with a factor on one of its gradients: P is diagonal."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x @ w

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return 1.01 * g @ w.T, x.T @ g


class Quantise(Function):
    """Rounding to multiples of a scale: straight through for x, and a gradient of the scale that is meant too."""

    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x, scale)
        return (x / scale).round() * scale

    @staticmethod
    def backward(ctx, g):
        x, scale = ctx.saved_tensors
        return g, (g * ((x / scale).round() - x / scale)).sum().reshape(scale.shape)


class Bisected(Function):
    """x with x² = y, by a bisection of masks in the forward pass; the loss's gradient is x itself."""

    factor = 1.0

    @staticmethod
    def forward(ctx, y):
        low, width = torch.zeros_like(y), y + 1
        for _ in range(52):
            width = width / 2
            middle = low + width
            low = torch.where(middle * middle <= y, middle, low)
        ctx.save_for_backward(low)
        return y * low - low.pow(3) / 3

    @classmethod
    def backward(cls, ctx, g):
        (x,) = ctx.saved_tensors
        return g * cls.factor * x


class WrongBisected(Bisected):
    factor = 1.001


class Estimated(Function):
    """A square, whose gradient is estimated by differences along drawn directions."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x * x).sum()

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        u = torch.randn_like(x)
        return g * u * (((x + 1e-2 * u) ** 2).sum() - (x * x).sum()) / 1e-2


class Drawing(torch.autograd.Function):
    """A spike that is drawn, and a smooth gradient for it."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return torch.distributions.Bernoulli(probs=0.5 + 0.5 * torch.tanh(x)).sample()

    @staticmethod
    def backward(ctx: Any, *g: torch.Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return g[0] * (1 - torch.tanh(x) ** 2)


class FloorOutside(torch.autograd.Function):
    """A floor to multiples of four that NumPy takes, straight through."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(4 * np.floor(x.detach().numpy() / 4))

    @staticmethod
    def backward(ctx: Any, *g: torch.Tensor) -> Any:
        return g[0]


class CoarseOutside(FloorOutside):
    """x, next to so large a number that float32 rounds it to multiples of eight."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        a = x.detach().numpy()
        large = a.dtype.type(2.0**26)
        return torch.from_numpy((a + large) - large)


class Reusing(torch.autograd.Function):
    """A square whose backward pass writes to the memory of its output, unseen; NumPy computes it, so there is no graph."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        out = torch.from_numpy(np.square(x.detach().numpy()))
        ctx.kept = (x.detach().clone(), out)
        return out

    @staticmethod
    def backward(ctx: Any, *g: torch.Tensor) -> Any:
        x, out = ctx.kept
        for k in range(out.untyped_storage().nbytes()):
            out.untyped_storage()[k] = 255  # NaN
        return 2 * g[0] * x


class Freeing(torch.autograd.Function):
    """Twice the input, whose backward pass frees the output, as reversible layers do."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        out = 2 * x
        ctx.out = out.detach()
        return out

    @staticmethod
    def backward(ctx: Any, *g: torch.Tensor) -> Any:
        ctx.out.untyped_storage().resize_(0)
        return 2 * g[0]


class FreeingOneOfTwo(torch.autograd.Function):
    """Both halves; the first is freed in the backward pass, which is wrong by a factor."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> Any:
        a, b = (h.clone() for h in x.chunk(2))
        ctx.out = a.detach()
        return a, b

    @staticmethod
    def backward(ctx: Any, *g: torch.Tensor) -> Any:
        ctx.out.untyped_storage().resize_(0)
        return torch.cat([g[0], 1.5 * g[1]])


class ThroughBfloat16(torch.autograd.Function):
    """A quarter of the input; the gradient passes through a format that has the digits of quarters of ones alone."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x / 4

    @staticmethod
    def backward(ctx: Any, *g: torch.Tensor) -> Any:
        return (g[0] / 4).to(torch.bfloat16).to(g[0].dtype)
