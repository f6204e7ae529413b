"""More layers over `nn.functional`: convolutions, poolings, paddings, normalisations, losses, lists of parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..api.creation import empty, full, ones, zeros
from ..api.shape import unflatten
from ..dtypes import DTYPES
from ..tensor import Tensor
from . import functional as F
from . import init
from .layers import _activation, _BatchNorm, _Loss, _loss
from .module import Module
from .parameter import Parameter

# ---- convolutions -------------------------------------------------------------------------------------------------------


def _tuple(value: Any, n: int) -> tuple[int, ...]:
    return (value,) * n if isinstance(value, int) else tuple(value)


class _Convolution(Module):
    """Weights (out, in / groups, *kernel), or (in, out / groups, *kernel) where transposed; PyTorch's initialisation."""

    dims = 1
    transposed = False
    function: Any

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, *rest: Any,
        output_padding: Any = 0, dilation: Any = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros",
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if rest:  # by position the order differs: a transposed one has output_padding, groups, bias, dilation
            names = (
                ("output_padding", "groups", "bias", "dilation") if self.transposed else ("dilation", "groups", "bias")
            )
            given = dict(zip(names, rest))
            output_padding, dilation = given.get("output_padding", output_padding), given.get("dilation", dilation)
            groups, bias = given.get("groups", groups), given.get("bias", bias)
        if padding_mode != "zeros":
            raise NotImplementedError(
                f"{type(self).__name__}: padding_mode={padding_mode!r} is not supported by this engine"
            )
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"{'in' if in_channels % groups else 'out'}_channels must be divisible by groups")
        n = self.dims
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.dilation = _tuple(kernel_size, n), _tuple(stride, n), _tuple(dilation, n)
        self.padding = padding if isinstance(padding, str) else _tuple(padding, n)
        self.output_padding = _tuple(output_padding, n)
        first, second = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        self.weight = Parameter(empty(first, second // groups, *self.kernel_size, device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(empty(out_channels, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init.reset_convolution(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        call = type(self).function
        if self.transposed:
            return call(
                input,
                self.weight,
                self.bias,
                self.stride,
                self.padding,
                self.output_padding,
                self.groups,
                self.dilation,
            )
        return call(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        out = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        zero, one = (0,) * self.dims, (1,) * self.dims
        out += f", padding={self.padding}" if self.padding != zero else ""
        out += f", dilation={self.dilation}" if self.dilation != one else ""
        out += f", output_padding={self.output_padding}" if self.output_padding != zero else ""
        out += f", groups={self.groups}" if self.groups != 1 else ""
        return out + (", bias=False" if self.bias is None else "")


class Conv1d(_Convolution):
    function = staticmethod(F.conv1d)


class Conv3d(_Convolution):
    dims, function = 3, staticmethod(F.conv3d)


class ConvTranspose1d(_Convolution):
    transposed, function = True, staticmethod(F.conv_transpose1d)


class ConvTranspose2d(_Convolution):
    dims, transposed, function = 2, True, staticmethod(F.conv_transpose2d)


# ---- layers that are one call -------------------------------------------------------------------------------------------


class _Called(Module):
    """`defaults`: name -> default of what the constructor takes and the function gets; `...`: it has to be given."""

    function: Any
    defaults: dict[str, Any] = {}
    training_too = False
    shown = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        given = dict(zip(self.defaults, args)) | kwargs
        for name, value in (self.defaults | given).items():
            if name not in self.defaults:
                raise TypeError(f"{type(self).__name__}.__init__() got an unexpected keyword argument '{name}'")
            if value is ...:
                raise TypeError(f"{type(self).__name__}.__init__() missing 1 required positional argument: '{name}'")
            setattr(self, name, value)

    def forward(self, *inputs: Tensor) -> Any:
        options = {n: getattr(self, n) for n in self.defaults}
        if self.training_too:
            options["training"] = self.training
        return type(self).function(*inputs, **options)

    def extra_repr(self) -> str:
        return self.shown.format(**{n: getattr(self, n) for n in self.defaults})


def _layer(name: str, function: Any, shown: str, training_too: bool = False, **defaults: Any) -> type[_Called]:
    """shown: what stands in the brackets of its line; a name in braces is the option's value."""
    return type(name, (_Called,), {
        "function": staticmethod(function), "shown": shown, "defaults": defaults, "training_too": training_too,
        "__module__": __name__, "__doc__": f"`nn.functional.{function.__name__}`.",
    })  # fmt: skip


def _named(names: str) -> str:
    return ", ".join(f"{n}={{{n}}}" for n in names.split())


_POOL: dict[str, Any] = {"kernel_size": ..., "stride": None, "padding": 0}
MaxPool1d = _layer(
    "MaxPool1d",
    F.max_pool1d,
    _named("kernel_size stride padding dilation ceil_mode"),
    **_POOL,
    dilation=1,
    return_indices=False,
    ceil_mode=False,
)


class AvgPool1d(_Called):
    """`nn.functional.avg_pool1d`."""

    function, shown = staticmethod(F.avg_pool1d), _named("kernel_size stride padding")
    defaults = _POOL

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        given = vars(self)
        stride = given["kernel_size"] if given["stride"] is None else given["stride"]
        for name, value in ("kernel_size", given["kernel_size"]), ("stride", stride), ("padding", given["padding"]):
            setattr(self, name, _tuple(value, 1))


AdaptiveAvgPool1d = _layer("AdaptiveAvgPool1d", F.adaptive_avg_pool1d, _named("output_size"), output_size=...)
AdaptiveMaxPool2d = _layer(
    "AdaptiveMaxPool2d", F.adaptive_max_pool2d, _named("output_size"), output_size=..., return_indices=False
)
LPPool1d = _layer(
    "LPPool1d",
    F.lp_pool1d,
    _named("norm_type kernel_size stride ceil_mode"),
    norm_type=...,
    kernel_size=...,
    stride=None,
    ceil_mode=False,
)
LPPool2d = _layer(
    "LPPool2d",
    F.lp_pool2d,
    _named("norm_type kernel_size stride ceil_mode"),
    norm_type=...,
    kernel_size=...,
    stride=None,
    ceil_mode=False,
)
Unfold = _layer(
    "Unfold", F.unfold, _named("kernel_size dilation padding stride"), kernel_size=..., dilation=1, padding=0, stride=1
)
Fold = _layer(
    "Fold",
    F.fold,
    _named("output_size kernel_size dilation padding stride"),
    output_size=...,
    kernel_size=...,
    dilation=1,
    padding=0,
    stride=1,
)
PixelShuffle = _layer("PixelShuffle", F.pixel_shuffle, _named("upscale_factor"), upscale_factor=...)
ChannelShuffle = _layer("ChannelShuffle", F.channel_shuffle, _named("groups"), groups=...)
PixelUnshuffle = _layer("PixelUnshuffle", F.pixel_unshuffle, _named("downscale_factor"), downscale_factor=...)


class Upsample(_Called):
    """`nn.functional.interpolate`."""

    function = staticmethod(F.interpolate)
    defaults = {"size": None, "scale_factor": None, "mode": "nearest", "align_corners": None}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if isinstance(vars(self)["scale_factor"], int):
            vars(self)["scale_factor"] = float(vars(self)["scale_factor"])

    def extra_repr(self) -> str:
        how = f"size={self.size}" if self.scale_factor is None else f"scale_factor={self.scale_factor}"
        return f"{how}, mode={self.mode!r}"


LocalResponseNorm = _layer(
    "LocalResponseNorm",
    F.local_response_norm,
    "{size}, " + _named("alpha beta k"),
    size=...,
    alpha=1e-4,
    beta=0.75,
    k=1.0,
)
CosineSimilarity = _layer("CosineSimilarity", F.cosine_similarity, "", dim=1, eps=1e-8)
PairwiseDistance = _layer("PairwiseDistance", F.pairwise_distance, "", p=2.0, eps=1e-6, keepdim=False)
Dropout1d = _layer("Dropout1d", F.dropout1d, _named("p inplace"), True, p=0.5, inplace=False)
Dropout2d = _layer("Dropout2d", F.dropout2d, _named("p inplace"), True, p=0.5, inplace=False)
Dropout3d = _layer("Dropout3d", F.dropout3d, _named("p inplace"), True, p=0.5, inplace=False)
AlphaDropout = _layer("AlphaDropout", F.alpha_dropout, _named("p inplace"), True, p=0.5, inplace=False)
FeatureAlphaDropout = _layer(
    "FeatureAlphaDropout", F.feature_alpha_dropout, _named("p inplace"), True, p=0.5, inplace=False
)
RReLU = _layer("RReLU", F.rrelu, _named("lower upper"), True, lower=1 / 8, upper=1 / 3, inplace=False)

Softmin = _activation("Softmin", F.softmin, dim=-1)
Softshrink = _layer("Softshrink", F.softshrink, "{lambd}", lambd=0.5)
Hardshrink = _layer("Hardshrink", F.hardshrink, "{lambd}", lambd=0.5)
Tanhshrink = _activation("Tanhshrink", F.tanhshrink)
GLU = _activation("GLU", F.glu, dim=-1)


class Threshold(Module):
    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__()
        self.threshold, self.value, self.inplace = threshold, value, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.threshold(input, self.threshold, self.value, self.inplace)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, value={self.value}"


class Softmax2d(Module):
    """Softmax over the channels at each place."""

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() not in (3, 4):
            raise ValueError(f"Softmax2d: expected input to be 3D or 4D, got {input.dim()}D instead")
        return F.softmax(input, -3)


class PReLU(Module):
    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.weight = Parameter(full((num_parameters,), float(init), device=device, dtype=dtype))

    def forward(self, input: Tensor) -> Tensor:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class Bilinear(Module):
    """x Wᵏ y + b for each output k."""

    def __init__(
        self, in1_features: int, in2_features: int, out_features: int, bias: bool = True, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.in1_features, self.in2_features, self.out_features = in1_features, in2_features, out_features
        self.weight = Parameter(empty(out_features, in1_features, in2_features, device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(empty(out_features, device=device, dtype=dtype)) if bias else None)
        for p in self.parameters():
            init.uniform_(p, -1 / math.sqrt(in1_features), 1 / math.sqrt(in1_features))

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class EmbeddingBag(Module):
    """`nn.functional.embedding_bag` of a table of its own."""

    def __init__(
        self, num_embeddings: int, embedding_dim: int, max_norm: float | None = None, norm_type: float = 2.0,
        scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_embeddings, self.embedding_dim, self.mode = num_embeddings, embedding_dim, mode
        self.weight = Parameter(init.normal_(empty(num_embeddings, embedding_dim)))

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        return F.embedding_bag(input, self.weight, offsets, mode=self.mode, per_sample_weights=per_sample_weights)

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}, mode={self.mode!r}"


class Unflatten(Module):
    def __init__(self, dim: int, unflattened_size: Any) -> None:
        super().__init__()
        self.dim, self.unflattened_size = dim, unflattened_size

    def forward(self, input: Tensor) -> Tensor:
        return unflatten(input, self.dim, tuple(self.unflattened_size))

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class _Pad(Module):
    dims, mode = 1, "constant"
    value: float = 0.0

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = _tuple(padding, 2 * self.dims)

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self.mode, self.value)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


def _pads(name: str, base: type[_Pad], mode: str) -> list[type[_Pad]]:
    return [
        type(f"{name}{n}d", (base,), {"dims": n, "mode": mode, "__module__": __name__, "__doc__": f"Pads by {mode}."})
        for n in (1, 2, 3)
    ]


ZeroPad1d, ZeroPad2d, ZeroPad3d = _pads("ZeroPad", _Pad, "constant")
ConstantPad1d, ConstantPad2d, ConstantPad3d = _pads("ConstantPad", _ConstantPad, "constant")
ReflectionPad1d, ReflectionPad2d, ReflectionPad3d = _pads("ReflectionPad", _Pad, "reflect")
ReplicationPad1d, ReplicationPad2d, ReplicationPad3d = _pads("ReplicationPad", _Pad, "replicate")
CircularPad1d, CircularPad2d, CircularPad3d = _pads("CircularPad", _Pad, "circular")


# ---- normalisations -----------------------------------------------------------------------------------------------------


class BatchNorm3d(_BatchNorm):
    ranks = (5,)


class GroupNorm(Module):
    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        for name, make in ("weight", ones), ("bias", zeros):
            made = Parameter(make(num_channels, device=device, dtype=dtype)) if affine else None
            self.register_parameter(name, made)

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        bias = self.bias is not None
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, bias={bias}"


class _InstanceNorm(Module):
    rank = 3

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
        track_running_stats: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        for name, make in ("weight", ones), ("bias", zeros):
            self.register_parameter(name, Parameter(make(num_features, device=device, dtype=dtype)) if affine else None)
        for name, make in ("running_mean", zeros), ("running_var", ones):
            tracked = make(num_features, device=device, dtype=dtype) if track_running_stats else None
            self.register_buffer(name, tracked)
        self.register_buffer("num_batches_tracked", zeros((), dtype=DTYPES["int64"]) if track_running_stats else None)

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() not in (self.rank, self.rank - 1):
            raise ValueError(f"expected {self.rank - 1}D or {self.rank}D input (got {input.dim()}D input)")
        x = input if input.dim() == self.rank else input.unsqueeze(0)
        own = self.training or not self.track_running_stats
        out = F.instance_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, own, self.momentum, self.eps
        )
        return out if input.dim() == self.rank else out.squeeze(0)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class InstanceNorm1d(_InstanceNorm):
    rank = 3


class InstanceNorm2d(_InstanceNorm):
    rank = 4


class InstanceNorm3d(_InstanceNorm):
    rank = 5


class RMSNorm(Module):
    def __init__(self, normalized_shape: Any, eps: float | None = None, elementwise_affine: bool = True) -> None:
        super().__init__()
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape, self.eps, self.elementwise_affine = shape, eps, elementwise_affine
        self.register_parameter("weight", Parameter(ones(shape)) if elementwise_affine else None)

    def forward(self, input: Tensor) -> Tensor:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


# ---- losses -------------------------------------------------------------------------------------------------------------


class _NamedLoss(_Loss):
    """A loss of any number of inputs, its options by position before `reduction`."""

    def __init__(self, *args: Any, reduction: str = "mean", **kwargs: Any) -> None:
        super().__init__(reduction, **dict(zip(self.defaults, args)), **kwargs)

    def forward(self, *inputs: Any) -> Tensor:
        extra = {n: getattr(self, n) for n in self.defaults}
        return type(self).function(*inputs, reduction=self.reduction, **extra)


def _named_loss(name: str, function: Any, **defaults: Any) -> type[_NamedLoss]:
    return type(name, (_NamedLoss,), {
        "function": staticmethod(function), "defaults": defaults, "__module__": __name__,
        "__doc__": f"`nn.functional.{function.__name__}`.",
    })  # fmt: skip


MarginRankingLoss = _named_loss("MarginRankingLoss", F.margin_ranking_loss, margin=0.0)
HingeEmbeddingLoss = _named_loss("HingeEmbeddingLoss", F.hinge_embedding_loss, margin=1.0)
CosineEmbeddingLoss = _named_loss("CosineEmbeddingLoss", F.cosine_embedding_loss, margin=0.0)
TripletMarginLoss = _named_loss("TripletMarginLoss", F.triplet_margin_loss, margin=1.0, p=2.0, eps=1e-6, swap=False)
MultiMarginLoss = _named_loss("MultiMarginLoss", F.multi_margin_loss, p=1, margin=1.0, weight=None)
MultiLabelSoftMarginLoss = _named_loss("MultiLabelSoftMarginLoss", F.multilabel_soft_margin_loss, weight=None)
PoissonNLLLoss = _named_loss("PoissonNLLLoss", F.poisson_nll_loss, log_input=True, full=False, eps=1e-8)
GaussianNLLLoss = _named_loss("GaussianNLLLoss", F.gaussian_nll_loss, full=False, eps=1e-6)
SoftMarginLoss = _loss("SoftMarginLoss", F.soft_margin_loss)


# ---- containers ---------------------------------------------------------------------------------------------------------


def _as_parameter(value: Any) -> Any:
    return Parameter(value) if isinstance(value, Tensor) and not isinstance(value, Parameter) else value


class ParameterList(Module):
    """A list of parameters."""

    def __init__(self, values: Iterable[Any] = ()) -> None:
        super().__init__()
        self._size = 0
        self.extend(values)

    def append(self, value: Any) -> ParameterList:
        setattr(self, str(self._size), _as_parameter(value))
        self._size += 1
        return self

    def extend(self, values: Iterable[Any]) -> ParameterList:
        for value in values:
            self.append(value)
        return self

    __iadd__ = extend

    def __getitem__(self, k: int | slice) -> Any:
        if isinstance(k, slice):
            return ParameterList(list(self)[k])
        if not -self._size <= k < self._size:
            raise IndexError(f"index {k} is out of range")
        return getattr(self, str(k % self._size))

    def __setitem__(self, k: int, value: Any) -> None:
        setattr(self, str(k % self._size), _as_parameter(value))

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return iter([getattr(self, str(k)) for k in range(self._size)])

    def extra_repr(self) -> str:
        return "\n".join(
            f"  ({k}): {type(p).__name__} containing: [{p.dtype} of size {'x'.join(map(str, p.shape))}]"
            for k, p in enumerate(self)
        )


class ParameterDict(Module):
    """A dict of parameters."""

    def __init__(self, values: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None) -> None:
        super().__init__()
        self._keys: dict[str, None] = {}
        self.update(values or {})

    def update(self, values: Any) -> None:
        for name, value in values.items() if hasattr(values, "items") else values:
            self[name] = value

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def __setitem__(self, name: str, value: Any) -> None:
        self._keys[name] = None
        setattr(self, name, _as_parameter(value))

    def __delitem__(self, name: str) -> None:
        del self._keys[name]
        delattr(self, name)

    def __contains__(self, name: object) -> bool:
        return name in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def keys(self) -> Iterable[str]:
        return self._keys.keys()

    def values(self) -> Iterable[Any]:
        return [self[name] for name in self._keys]

    def items(self) -> Iterable[tuple[str, Any]]:
        return [(name, self[name]) for name in self._keys]
