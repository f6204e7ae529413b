"""`torch.distributions`: Normal, Categorical and Bernoulli."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .api import creation
from .api.composed import multinomial
from .api.shape import broadcast_tensors
from .modes import no_grad
from .nn import functional as F
from .tensor import Size, Tensor, wrap

__all__ = ["Bernoulli", "Categorical", "Distribution", "Normal", "kl_divergence"]


def _tensor(x: Any) -> Tensor:
    return x if isinstance(x, Tensor) else creation.tensor(float(x))


class Distribution:
    """Base: `sample`, `rsample` where a draw has a gradient, `log_prob`, `entropy`."""

    batch_shape: Size

    def sample(self, sample_shape: Any = ()) -> Tensor:
        raise NotImplementedError

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        raise NotImplementedError

    def log_prob(self, value: Tensor) -> Tensor:
        raise NotImplementedError

    def entropy(self) -> Tensor:
        raise NotImplementedError


class Normal(Distribution):
    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_tensors(_tensor(loc), _tensor(scale))
        self.batch_shape = self.loc.shape
        if not (self.scale._data > 0).all():
            raise ValueError(f"Expected parameter scale to be positive, but found invalid values:\n{self.scale}")

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def stddev(self) -> Tensor:
        return self.scale

    @property
    def variance(self) -> Tensor:
        return self.scale**2

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        drawn = creation.randn((*sample_shape, *self.batch_shape)).to(self.loc.dtype)
        return self.loc + drawn * self.scale

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            return self.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return -((value - self.loc) ** 2) / (2 * self.scale**2) - self.scale.log() - math.log(math.sqrt(2 * math.pi))

    def entropy(self) -> Tensor:
        return 0.5 + 0.5 * math.log(2 * math.pi) + self.scale.log()


class Categorical(Distribution):
    """Given by `probs` (each row is divided by its sum) or by `logits`."""

    def __init__(
        self, probs: Tensor | None = None, logits: Tensor | None = None, validate_args: bool | None = None
    ) -> None:
        if (probs is None) == (logits is None):
            raise ValueError("Either `probs` or `logits` must be specified, but not both.")
        if probs is not None:
            self.probs = probs / probs.sum(-1, keepdim=True)
            eps = float(np.finfo(probs._data.dtype).eps)
            self.logits = self.probs.clamp(eps, 1 - eps).log()
        else:
            assert logits is not None
            self.logits = logits - logits.logsumexp(-1, keepdim=True)
            self.probs = F.softmax(self.logits, -1)
        self.batch_shape = Size(self.logits.shape[:-1])

    def sample(self, sample_shape: Any = ()) -> Tensor:
        rows = self.probs.detach().reshape(-1, self.probs.shape[-1])
        count = math.prod(sample_shape)
        drawn = multinomial(rows, count, True).T
        return (
            drawn.reshape(*sample_shape, *self.batch_shape) if (*sample_shape, *self.batch_shape) else drawn.reshape(())
        )

    def log_prob(self, value: Tensor) -> Tensor:
        value = value.long().unsqueeze(-1)
        shape = np.broadcast_shapes(value.shape[:-1], self.logits.shape[:-1])
        logits = self.logits.expand(*shape, self.logits.shape[-1])
        return logits.gather(-1, value.expand(*shape, 1)).squeeze(-1)

    def entropy(self) -> Tensor:
        smallest = float(np.finfo(self.logits._data.dtype).min)
        return -(self.logits.clamp(min=smallest) * self.probs).sum(-1)


class Bernoulli(Distribution):
    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        if (probs is None) == (logits is None):
            raise ValueError("Either `probs` or `logits` must be specified, but not both.")
        if probs is not None:
            self.probs = _tensor(probs)
            eps = float(np.finfo(self.probs._data.dtype).eps)
            held = self.probs.clamp(eps, 1 - eps)
            self.logits = held.log() - (-held).log1p()
        else:
            self.logits = _tensor(logits)
            self.probs = F.sigmoid(self.logits)
        self.batch_shape = Size(self.probs.shape)

    @property
    def mean(self) -> Tensor:
        return self.probs

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = (*sample_shape, *self.batch_shape)
        drawn = creation.default_generator.random.random(shape) < np.broadcast_to(self.probs._data, shape)
        return wrap(np.asarray(drawn).astype(self.probs._data.dtype))

    def log_prob(self, value: Tensor) -> Tensor:
        return -F.binary_cross_entropy_with_logits(self.logits, value, reduction="none")

    def entropy(self) -> Tensor:
        return F.binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """The divergence of `p` from `q`, both of one kind. Raises NotImplementedError for two kinds."""
    if isinstance(p, Normal) and isinstance(q, Normal):
        ratio = (p.scale / q.scale) ** 2
        return 0.5 * (ratio + ((p.loc - q.loc) / q.scale) ** 2 - 1 - ratio.log())
    if isinstance(p, Categorical) and isinstance(q, Categorical):
        return (p.probs * (p.logits - q.logits)).sum(-1)
    if isinstance(p, Bernoulli) and isinstance(q, Bernoulli):
        return p.probs * (p.probs / q.probs).log() + (1 - p.probs) * ((1 - p.probs) / (1 - q.probs)).log()
    raise NotImplementedError(f"kl_divergence of {type(p).__name__} and {type(q).__name__}")
