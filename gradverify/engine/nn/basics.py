"""`torch.nn.functional`, the part that the op table has: translations into its ops, like those of `api`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes
from ..api import creation
from ..api.call import run, run_as
from ..api.elementwise import add, clamp, div, mul, sub
from ..api.linalg import matmul
from ..api.reduction import sum
from ..api.shape import reshape, t, unsqueeze
from ..fast import unary
from ..modes import state
from ..rules import rule
from ..tensor import Tensor, wrap
from ..views import write

__all__ = [
    "adaptive_avg_pool2d", "avg_pool2d", "batch_norm", "binary_cross_entropy", "binary_cross_entropy_with_logits",
    "celu", "conv2d", "cosine_similarity", "cross_entropy", "dropout", "elu", "embedding", "gelu", "hardsigmoid",
    "hardswish", "hardtanh", "huber_loss", "kl_div", "l1_loss", "layer_norm", "leaky_relu", "linear", "log_softmax",
    "logsigmoid", "mish", "mse_loss", "nll_loss", "normalize", "one_hot", "relu", "relu6", "relu_", "selu", "sigmoid",
    "silu", "smooth_l1_loss", "softmax", "softplus", "softsign", "tanh",
]  # fmt: skip

# ---- activations ----------------------------------------------------------------------------------------------------


def _activation(name: str, op: str | None = None, **names: str) -> Any:
    """A function of one tensor, with `inplace` as PyTorch's activations have it; `names` renames its parameters."""
    r = rule(op or name)
    plain = None if r.params or r.composite else unary(r)

    def activation(input: Tensor, *args: Any, inplace: bool = False, **kwargs: Any) -> Tensor:
        if plain is not None and not inplace and not args and not kwargs:
            return plain(input)
        params = dict(zip(names, args)) | kwargs
        params = {names[k]: v if isinstance(v, str) else float(v) for k, v in params.items()}
        if inplace:
            return write(input, lambda x: run(op or name, x, **params))
        return run(op or name, input, **params)

    activation.__name__ = activation.__qualname__ = name
    activation.__doc__ = f"The activation {name}, entry by entry."
    return activation


relu, relu6, selu, silu, mish = map(_activation, ("relu", "relu6", "selu", "silu", "mish"))
hardsigmoid, hardswish, softsign = map(_activation, ("hardsigmoid", "hardswish", "softsign"))
logsigmoid = _activation("logsigmoid", "log_sigmoid")
leaky_relu = _activation("leaky_relu", negative_slope="negative_slope")
elu, celu = _activation("elu", alpha="alpha"), _activation("celu", alpha="alpha")
gelu = _activation("gelu", approximate="approximate")


tanh, sigmoid = _activation("tanh"), _activation("sigmoid")


def relu_(input: Tensor) -> Tensor:
    return relu(input, inplace=True)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    make = lambda x: run_as("HardtanhBackward0", "clip", x, min=float(min_val), max=float(max_val))
    return write(input, make) if inplace else make(input)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    return run("softplus", input) if beta == 1 else div(run("softplus", mul(input, beta)), beta)


def softmax(input: Tensor, dim: int = -1, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    return run("softmax", _as(input, dtype), axis=dim)


def log_softmax(input: Tensor, dim: int = -1, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    return run("log_softmax", _as(input, dtype), axis=dim)


def _as(x: Tensor, dtype: dtypes.dtype | None) -> Tensor:
    return x if dtype is None else x.to(dtype)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeros with probability p, the rest scaled by 1 / (1 - p), so that the mean stays."""
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0:
        return input
    keep = creation.rand(input.shape)._data >= p
    scale = 0.0 if p == 1 else 1 / (1 - p)
    mask = wrap((keep * scale).astype(input._data.dtype))
    return write(input, lambda x: mul(x, mask)) if inplace else mul(input, mask)


# ---- layers ---------------------------------------------------------------------------------------------------------


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    out = matmul(input, t(weight))
    if bias is None:
        return out
    return run_as("AddmmBackward0" if input._data.ndim == 2 else "ViewBackward0", "add", out, bias)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    if isinstance(padding, str):
        if padding == "same" and _pair(stride) != (1, 1):
            raise RuntimeError("padding='same' is not supported for strided convolutions")
        reach = [d * (k - 1) for d, k in zip(_pair(dilation), weight.shape[2:])]
        if padding == "same" and any(r % 2 for r in reach):
            raise RuntimeError("padding='same' needs odd kernels here: an even one would be padded unevenly")
        padding = tuple(r // 2 for r in reach) if padding == "same" else 0
    x = unsqueeze(input, 0) if input._data.ndim == 3 else input
    if x._data.ndim != 4:
        raise RuntimeError(
            f"Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: {list(input.shape)}"
        )
    if x.shape[1] != weight.shape[1] * groups:
        raise RuntimeError(
            f"Given groups={groups}, weight of size {list(weight.shape)}, expected input{list(x.shape)} to have "
            f"{weight.shape[1] * groups} channels, but got {x.shape[1]} channels instead"
        )
    out = run(
        "conv2d", x, weight, stride=_pair(stride), padding=_pair(padding), dilation=_pair(dilation), groups=groups
    )
    if bias is not None:
        out = run_as("ConvolutionBackward0", "add", out, reshape(bias, (1, -1, 1, 1)))
    return reshape(out, out.shape[1:]) if input._data.ndim == 3 else out


def max_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1) -> Tensor:
    kernel = _pair(kernel_size)
    return _to_batch(
        input, "max_pool2d", kernel=kernel, stride=_pair(stride) if stride else kernel, padding=_pair(padding),
        dilation=_pair(dilation),
    )  # fmt: skip


def avg_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Tensor:
    kernel = _pair(kernel_size)
    return _to_batch(
        input, "avg_pool2d", kernel=kernel, stride=_pair(stride) if stride else kernel, padding=_pair(padding)
    )


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    size = (output_size,) * 2 if output_size is None or isinstance(output_size, int) else output_size
    size = tuple(n if s is None else s for s, n in zip(size, input.shape[-2:]))
    if size == (1, 1):
        return run("mean", input, axis=(-1, -2), keepdims=True)
    return _to_batch(input, "adaptive_avg_pool2d", size=size)


def _to_batch(input: Tensor, op: str, **params: Any) -> Tensor:
    if input._data.ndim == 3:
        out = run(op, unsqueeze(input, 0), **params)
        return reshape(out, out.shape[1:])
    return run(op, input, **params)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """With the batch's own statistics (training; the running ones are updated in place), or with the running ones."""
    if state.duals and input._tangents and any(x is not None and x._tangents for x in (running_mean, running_var)):
        raise RuntimeError(
            "batch_norm is not differentiable wrt running_mean and running_var, they cannot have forward grad defined"
        )
    channels, dtype = input.shape[1], input._data.dtype
    w = wrap(np.ones(channels, dtype)) if weight is None else weight
    b = wrap(np.zeros(channels, dtype)) if bias is None else bias
    if not training:
        if running_mean is None or running_var is None:
            raise RuntimeError("Expected running_mean and running_var to be defined when training=False")
        shape = (1, -1, *(1,) * (input._data.ndim - 2))
        scale = mul(w, wrap(1 / np.sqrt(running_var._data + dtype.type(eps))))
        shift = sub(b, mul(running_mean.detach(), scale))
        return run_as("NativeBatchNormBackward0", "add", mul(input, reshape(scale, shape)), reshape(shift, shape))
    n = input._data.size // max(channels, 1)
    if n <= 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.shape}")
    if running_mean is not None and running_var is not None:
        axes = (0, *range(2, input._data.ndim))
        _lerp_into(running_mean, input._data.mean(axis=axes), momentum)
        _lerp_into(running_var, input._data.var(axis=axes) * (n / (n - 1)), momentum)
    return run("batch_norm", input, w, b, eps=float(eps))


def _lerp_into(running: Tensor, value: Any, momentum: float) -> None:
    data = running._array()
    data *= data.dtype.type(1 - momentum)
    data += (momentum * value).astype(data.dtype)
    running._cell()[0] += 1


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    shape = tuple(normalized_shape)
    if tuple(input.shape[len(input.shape) - len(shape) :]) != shape:
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*, {', '.join(map(str, shape))}], but got "
            f"input of size{list(input.shape)}"
        )
    n = math.prod(shape)
    flat = reshape(input, (*input.shape[: len(input.shape) - len(shape)], n))
    w = wrap(np.ones(n, input._data.dtype)) if weight is None else reshape(weight, (n,))
    b = wrap(np.zeros(n, input._data.dtype)) if bias is None else reshape(bias, (n,))
    out = run("layer_norm", flat, w, b, eps=float(eps))
    return out if len(shape) == 1 else reshape(out, input.shape)


def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Rows of `weight`; that of `padding_idx` gets no gradient.

    Raises RuntimeError where `input` is not integral, IndexError where an index is out of range.
    """
    if input._data.dtype not in (np.int64, np.int32):
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got "
            f"{input.type()} instead (while checking arguments for embedding)"
        )
    if input._data.size and not 0 <= input._data.min() <= input._data.max() < weight.shape[0]:
        raise IndexError("index out of range in self")
    out = run_as("EmbeddingBackward0", "take", weight, input, axis=0)
    if padding_idx is None:
        return out
    keep = wrap((input._data != padding_idx % weight.shape[0])[..., None].astype(weight._data.dtype))
    fixed = out.detach()
    return add(mul(out, keep), mul(fixed, sub(1, keep)))


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    labels = tensor._data
    if labels.dtype != np.int64:
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if labels.size and labels.min() < 0:
        raise RuntimeError("Class values must be non-negative.")
    if num_classes != -1 and labels.size and labels.max() >= num_classes:
        raise RuntimeError("Class values must be smaller than num_classes.")
    n = int(labels.max()) + 1 if num_classes == -1 else num_classes
    return wrap((tensor._data[..., None] == np.arange(n)).astype(np.int64))


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    axis = None if not input._data.ndim and dim in (0, -1) else dim
    size = run("vector_norm", input, axis=axis, keepdims=True, ord=float(p))
    return div(input, run("maximum", size, eps))


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1 · x2 / (max(|x1|, eps) max(|x2|, eps)) along a dim: each vector is divided by its norm first."""
    return run("cosine_similarity", x1, x2, axis=dim, eps=float(eps))


# ---- losses ---------------------------------------------------------------------------------------------------------


def _reduce(node: str, each: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return each
    if reduction not in ("mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return run_as(node, reduction, each)


def _require_shape(input: Tensor, target: Tensor, error: str) -> None:
    """Raises ValueError where the two shapes differ; `error` names them by {target} and {input}."""
    if input.shape != target.shape:
        raise ValueError(error.format(target=target.shape, input=input.shape))


def _check_shapes(input: Tensor, target: Tensor, name: str) -> None:
    if input.shape != target.shape:
        import warnings

        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This will likely "
            "lead to incorrect results due to broadcasting. Please ensure they have the same size.",
            UserWarning,
            stacklevel=3,
        )


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    _check_shapes(input, target, "mse_loss")
    if reduction == "mean" and input._data.shape == target._data.shape and input._data.dtype == target._data.dtype:
        return run("mse_loss", input, target)
    return _reduce("MseLossBackward0", run_as("MseLossBackward0", "square", sub(input, target)), reduction)


def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    _check_shapes(input, target, "l1_loss")
    each = run("abs", sub(input, target))
    return each if reduction == "none" else run(reduction, each)


def huber_loss(input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    _check_shapes(input, target, "huber_loss")
    if delta <= 0:
        raise RuntimeError(f"huber_loss does not support non-positive values for delta, got {delta}.")
    d = sub(input, target)
    c = clamp(d, -delta, delta)
    return _reduce("HuberLossBackward0", run_as("HuberLossBackward0", "multiply", c, sub(d, mul(c, 0.5))), reduction)


def smooth_l1_loss(input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    if beta == 0:
        return l1_loss(input, target, reduction)
    _check_shapes(input, target, "smooth_l1_loss")
    d = sub(input, target)
    c = clamp(d, -beta, beta)
    each = run_as("SmoothL1LossBackward0", "multiply", c, div(sub(d, mul(c, 0.5)), beta))
    return _reduce("SmoothL1LossBackward0", each, reduction)


def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """Minus the log-probability (dim 1) of each target class; the mean is weighted by the classes' weights."""
    dim = 0 if input._data.ndim == 1 else 1
    classes = input._data.shape[dim]
    labels = target._data
    used = labels != ignore_index
    if labels.size and (labels[used] if labels.ndim else labels).size:
        bad = labels[used & ((labels < 0) | (labels >= classes))] if labels.ndim else labels[()]
        if np.any((bad < 0) | (bad >= classes)):
            raise IndexError(f"Target {int(np.ravel(bad)[0])} is out of bounds.")
    at = wrap(np.expand_dims(np.where(used, labels, 0), dim))
    picked = reshape(run("take_along_axis", input, at, axis=dim), labels.shape)
    share = used.astype(input._data.dtype)
    if weight is not None:
        share = share * weight._data[np.where(used, labels, 0)]
    each = run_as("NllLossBackward0", "multiply", picked, wrap(-share))
    if reduction == "mean":
        return run_as("NllLossBackward0", "divide", sum(each), wrap(share.sum()))
    return _reduce("NllLossBackward0", each, reduction)


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Of logits (dim 1) against class indices, or against probabilities of the same shape."""
    dim = 0 if input._data.ndim == 1 else 1
    logp = log_softmax(input, dim)
    classes = input._data.shape[dim]
    per_class = None if weight is None else reshape(weight, (-1, *(1,) * (input._data.ndim - dim - 1)))
    if target.dtype.is_floating_point:
        goal = target
        if label_smoothing:
            goal = add(mul(goal, 1 - label_smoothing), label_smoothing / classes)
        goal = goal if per_class is None else mul(goal, per_class)
        each = run("negative", sum(mul(logp, goal), dim))
        if reduction == "mean":
            return div(sum(each), max(each.numel(), 1))
        return _reduce("NegBackward0", each, reduction)
    if label_smoothing:
        # (1 - s) of the usual loss and s of the mean loss over all classes
        used = target._data != ignore_index
        each = run("negative", sum(logp if per_class is None else mul(logp, per_class), dim))
        each = mul(each, wrap(used.astype(input._data.dtype)))
        if reduction != "none":
            each = sum(each)
        if reduction == "mean":
            share = used.sum() if weight is None else weight._data[np.where(used, target._data, 0)][used].sum()
            each = div(each, float(share))
        usual = nll_loss(logp, target, weight, ignore_index, reduction)
        return add(mul(usual, 1 - label_smoothing), mul(each, label_smoothing / classes))
    return nll_loss(logp, target, weight, ignore_index, reduction)


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """Logarithms are cut off at -100, as PyTorch does, so that a certain and wrong prediction costs 100."""
    _require_shape(
        input,
        target,
        "Using a target size ({target}) that is different to the input size ({input}) is deprecated. Please ensure they "
        "have the same size.",
    )
    if input._data.size and not (np.all(input._data >= 0) and np.all(input._data <= 1)):
        raise RuntimeError("all elements of input should be between 0 and 1")
    each = run_as("BinaryCrossEntropyBackward0", "bce_of_each", input, target)
    each = each if weight is None else mul(each, weight)
    return _reduce("BinaryCrossEntropyBackward0", each, reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """-t log σ(x) - (1 - t) log σ(-x), from the logits, so that nothing is lost in the tails."""
    _require_shape(input, target, "Target size ({target}) must be the same as input size ({input})")
    positive, negative = run("softplus", run("negative", input)), run("softplus", input)
    goal = mul(target, positive)
    each = add(goal if pos_weight is None else mul(goal, pos_weight), mul(sub(1, target), negative))
    each = each if weight is None else mul(each, weight)
    return _reduce("BinaryCrossEntropyWithLogitsBackward0", each, reduction)


def kl_div(input: Tensor, target: Tensor, reduction: str = "mean", log_target: bool = False) -> Tensor:
    each = (
        mul(run("exp", target), sub(target, input))
        if log_target
        else sub(run("xlogy", target, target), mul(target, input))
    )
    if reduction == "batchmean":
        return div(sum(each), input.shape[0])
    return each if reduction == "none" else run(reduction, each)
