"""PyTorch's names for backward nodes: what `grad_fn` prints. Checked against PyTorch in tests/engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Args = Sequence[Any]
Params = Mapping[str, Any]
Names = str | Callable[[Args, Params], str]


def _rank(x: Any) -> int:
    return len(x.shape) if hasattr(x, "shape") else -1  # -1: a Python number


def _pow(args: Args, params: Params) -> str:
    if _rank(args[1]) == -1:
        return "PowBackward0"
    return "PowBackward2" if _rank(args[0]) == -1 else "PowBackward1"


def _subtract(args: Args, params: Params) -> str:
    return "RsubBackward1" if _rank(args[0]) == -1 else "SubBackward0"


def _matmul(args: Args, params: Params) -> str:
    ranks = (_rank(args[0]), _rank(args[1]))
    known = {(1, 1): "DotBackward0", (2, 2): "MmBackward0", (2, 1): "MvBackward0", (1, 2): "SqueezeBackward4"}
    return known.get(ranks, "UnsafeViewBackward0")


def _by_axis(all_axes: str, some: str) -> Names:
    return lambda args, params: all_axes if params.get("axis") is None else some


NODE_NAMES: dict[str, Names] = {
    # arithmetic
    "subtract": _subtract, "multiply": "MulBackward0", "divide": "DivBackward0", "negative": "NegBackward0",
    "pow": _pow, "square": "PowBackward0", "sign": "SignBackward0",
    "log1p": "Log1PBackward0", "log_sigmoid": "LogSigmoidBackward0",
    "clip": "ClampBackward1", "relu6": "HardtanhBackward0", "selu": "EluBackward0", "softsign": "DivBackward0",
    "logaddexp": "LogaddexpBackward0", "logaddexp2": "Logaddexp2Backward0", "xlog1py": "Xlog1PyBackward0",
    # reductions
    "sum": _by_axis("SumBackward0", "SumBackward1"), "mean": _by_axis("MeanBackward0", "MeanBackward1"),
    "prod": _by_axis("ProdBackward0", "ProdBackward1"),
    "max": _by_axis("MaxBackward1", "AmaxBackward0"), "min": _by_axis("MinBackward1", "AminBackward0"),
    "vector_norm": "LinalgVectorNormBackward0",
    "cumulative_sum": "CumsumBackward0", "cumulative_prod": "CumprodBackward0",
    # shape
    "reshape": "ViewBackward0", "permute_dims": "PermuteBackward0", "matrix_transpose": "TransposeBackward0",
    "moveaxis": "PermuteBackward0", "expand_dims": "UnsqueezeBackward0", "broadcast_to": "ExpandBackward0",
    "concat": "CatBackward0", "pad": "ConstantPadNdBackward0", "tile": "RepeatBackward0", "repeat": "ViewBackward0",
    # indexing
    "getitem": "SelectBackward0", "index": "IndexBackward0", "index_put": "IndexPutBackward0",
    "take": "IndexSelectBackward0", "take_along_axis": "GatherBackward0",
    # linear algebra
    "matmul": _matmul, "einsum": "ViewBackward0", "outer": "MulBackward0", "vecdot": "SumBackward1",
    "tensordot": "ViewBackward0", "cross": "LinalgCrossBackward0", "matrix_power": "MmBackward0",
    "det": "LinalgDetBackward0", "logabsdet": "LinalgSlogdetBackward0", "inv": "LinalgInvExBackward0",
    "solve": "LinalgSolveExBackward0", "cholesky": "LinalgCholeskyExBackward0",
    "solve_triangular": "LinalgSolveTriangularBackward0",
    # neural
    "layer_norm": "NativeLayerNormBackward0", "rms_norm": "MulBackward0", "normalize": "DivBackward0",
    "cosine_similarity": "SumBackward1", "linear": "AddmmBackward0", "cross_entropy": "NllLossBackward0",
    "scaled_dot_product_attention": "ScaledDotProductFlashAttentionForCpuBackward0",
    "conv2d": "ConvolutionBackward0", "max_pool2d": "MaxPool2DWithIndicesBackward0", "avg_pool2d": "AvgPool2DBackward0",
    "batch_norm": "NativeBatchNormBackward0", "adaptive_avg_pool2d": "AdaptiveAvgPool2DBackward0",
    "smooth_l1_loss": "SmoothL1LossBackward0",
    # the engine's own
    "cast": "ToCopyBackward0", "fft": "FftC2CBackward0",
}  # fmt: skip


def node_name(op: str) -> Names:
    """The table's name, or the usual one: log_softmax -> LogSoftmaxBackward0."""
    return NODE_NAMES.get(op) or "".join(part.capitalize() for part in op.split("_")) + "Backward0"
