"""What the engine knows of an op beside its declaration: one record per op.

The one idea: the op table says what an op computes and how it is differentiated; what is PyTorch's rather than mathematics,
and what backward needs of forward, stands here and nowhere else. An op without a record is a plain one: `OpFacts()`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

Args = Sequence[Any]
Params = Mapping[str, Any]
Names = str | Callable[[Args, Params], str]
Saves = tuple[str, ...]
Refusal = tuple[type[Exception], str]


class Promotion(Enum):
    """How operands are brought to one dtype before the kernel runs."""

    KEEP = "as they are"
    ARITHMETIC = "PyTorch's promotion"
    REAL = "the same, and integers become the default dtype"
    COMPARE = "the same; the result is a bool"


class Complex(Enum):
    """How an op's rule is read over complex arguments (see `wirtinger`)."""

    HOLOMORPHIC = "the table's rule, between two conjugations"
    WIRTINGER = "the op's own rule, written for complex cotangents"
    FORM = "by a declaration of its own, in `wirtinger.FORMS`"
    REFUSED = "not at all"


KEEP, ARITHMETIC, REAL, COMPARE = Promotion
HOLOMORPHIC, WIRTINGER, FORM, REFUSED = Complex


@dataclass(frozen=True, slots=True, kw_only=True)
class OpFacts:
    """What the engine knows of one op.

    saves      per argument, what the VJP of that argument reads: arguments by letter ("a b"), "out", or only their
               shapes ("a.shape"); an op of any arity has one entry, with "args" for all; None: the VJP text is analysed
    promotion  how operands are brought to one dtype
    counts     are bools and small integers added up in int64?
    adds       is the op computed in float32 for halves, although it keeps dtypes?
    view       does the result share the input's memory in PyTorch? (reshape: where the layout allows it)
    indexes    are there arrays among the parameters, to be freed with the saved values?
    passes     is it elementwise, by texts that go over an array many times? (See `kernels.by_blocks`.)
    node       PyTorch's name of the backward node, where it is not the op's name in capitals
    complex    how the rule is read over complex arguments
    refusal    the error and its text for complex arguments, where PyTorch does not say '"op_cpu" not implemented'
    cpu_kernel what PyTorch calls its kernel in that message, where it is not "op_cpu"
    functions  PyTorch's functions that take the op's arguments as the table does
    in_place   functions with an in-place method: "add" for `x.add_(y)`
    """

    saves: Saves | None = None
    promotion: Promotion = REAL
    counts: bool = False
    adds: bool = False
    view: bool = False
    indexes: bool = False
    passes: bool = False
    node: Names | None = None
    complex: Complex = REFUSED
    refusal: Refusal | None = None
    cpu_kernel: str = ""
    functions: str = ""
    in_place: str = ""


# ---- node names that depend on the call -----------------------------------------------------------------------------


def _rank(x: Any) -> int:
    """The number of dimensions; -1 for a Python number."""
    return getattr(x, "ndim", -1)


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


_CLAMP: Refusal = (NotImplementedError, "clamp is not supported for complex types")
_SIGN: Refusal = (
    NotImplementedError,
    "Unlike NumPy, torch.sign is not intended to support complex numbers. Please use torch.sgn instead.",
)
_SORT: Refusal = (RuntimeError, " Sort does not support complex dtypes on CPU")

FACTS: Mapping[str, OpFacts] = {
    # elementwise
    "add": OpFacts(saves=("", ""), promotion=ARITHMETIC, complex=HOLOMORPHIC, in_place="add"),
    "subtract": OpFacts(saves=("", ""), promotion=ARITHMETIC, node=_subtract, complex=HOLOMORPHIC,
        functions="subtract", in_place="sub"),
    "multiply": OpFacts(saves=("b", "a"), promotion=ARITHMETIC, node="MulBackward0", complex=HOLOMORPHIC,
        functions="multiply", in_place="mul"),
    "divide": OpFacts(saves=("b", "b out"), node="DivBackward0", complex=HOLOMORPHIC, functions="divide true_divide",
        in_place="div"),
    "pow": OpFacts(saves=("a b", "a out"), promotion=ARITHMETIC, node=_pow, complex=HOLOMORPHIC, in_place="pow"),
    "remainder": OpFacts(saves=("", "a b"), promotion=ARITHMETIC, in_place="remainder"),
    "negative": OpFacts(saves=("",), promotion=ARITHMETIC, node="NegBackward0", complex=HOLOMORPHIC,
        functions="neg negative", in_place="neg"),
    "abs": OpFacts(saves=("a",), promotion=ARITHMETIC, complex=FORM, functions="abs absolute", in_place="abs"),
    "sign": OpFacts(saves=("",), promotion=ARITHMETIC,
        refusal=_SIGN, functions="sign"),
    "square": OpFacts(saves=("a",), promotion=ARITHMETIC, node="PowBackward0", complex=HOLOMORPHIC,
        functions="square", in_place="square"),
    "sqrt": OpFacts(saves=("out",), complex=HOLOMORPHIC, functions="sqrt", in_place="sqrt"),
    "reciprocal": OpFacts(saves=("out",), complex=HOLOMORPHIC, functions="reciprocal", in_place="reciprocal"),
    "rsqrt": OpFacts(saves=("a out",), complex=HOLOMORPHIC, functions="rsqrt", in_place="rsqrt"),
    "exp": OpFacts(saves=("out",), complex=HOLOMORPHIC, functions="exp", in_place="exp"),
    "exp2": OpFacts(saves=("out",), complex=HOLOMORPHIC, functions="exp2", in_place="exp2"),
    "expm1": OpFacts(saves=("a",), complex=HOLOMORPHIC, functions="expm1", in_place="expm1"),
    "log": OpFacts(saves=("a",), complex=HOLOMORPHIC, functions="log", in_place="log"),
    "log1p": OpFacts(saves=("a",), node="Log1PBackward0", complex=FORM, functions="log1p", in_place="log1p"),
    "log2": OpFacts(saves=("a",), complex=HOLOMORPHIC, functions="log2", in_place="log2"),
    "log10": OpFacts(saves=("a",), complex=HOLOMORPHIC, functions="log10", in_place="log10"),
    "sin": OpFacts(saves=("a",), complex=HOLOMORPHIC, functions="sin", in_place="sin"),
    "cos": OpFacts(saves=("a",), complex=HOLOMORPHIC, functions="cos", in_place="cos"),
    "tan": OpFacts(saves=("out",), complex=HOLOMORPHIC, functions="tan", in_place="tan"),
    "asin": OpFacts(saves=("a",), complex=HOLOMORPHIC, functions="asin arcsin", in_place="asin"),
    "acos": OpFacts(saves=("a",), complex=HOLOMORPHIC, functions="acos arccos", in_place="acos"),
    "atan": OpFacts(saves=("a",), complex=HOLOMORPHIC, functions="atan arctan", in_place="atan"),
    "sinh": OpFacts(saves=("a",), complex=HOLOMORPHIC, functions="sinh", in_place="sinh"),
    "cosh": OpFacts(saves=("a",), complex=HOLOMORPHIC, functions="cosh", in_place="cosh"),
    "tanh": OpFacts(saves=("a",), complex=HOLOMORPHIC, functions="tanh", in_place="tanh"),
    "asinh": OpFacts(saves=("a",), complex=FORM, functions="asinh arcsinh"),
    "acosh": OpFacts(saves=("a",), complex=HOLOMORPHIC, functions="acosh arccosh"),
    "atanh": OpFacts(saves=("a",), complex=HOLOMORPHIC, functions="atanh arctanh"),
    "atan2": OpFacts(saves=("a b", "a b"), functions="atan2 arctan2"),
    "hypot": OpFacts(saves=("a out", "b out"), functions="hypot"),
    "logaddexp": OpFacts(saves=("a b", "a b"), functions="logaddexp"),
    "logaddexp2": OpFacts(saves=("a b", "a b"), functions="logaddexp2"),
    "xlogy": OpFacts(saves=("b", "a b"), functions="xlogy"),
    "xlog1py": OpFacts(saves=("b", "a b"), node="Xlog1PyBackward0", functions="xlog1py"),
    "maximum": OpFacts(saves=("a b", "a b"), promotion=ARITHMETIC,
        refusal=(RuntimeError, "maximum not implemented for complex tensors."), functions="maximum"),
    "minimum": OpFacts(saves=("a b", "a b"), promotion=ARITHMETIC,
        refusal=(RuntimeError, "minimum not implemented for complex tensors."), functions="minimum"),
    "clip": OpFacts(saves=("a",), promotion=ARITHMETIC, node="ClampBackward1", refusal=_CLAMP, in_place="clamp clip"),
    "where": OpFacts(saves=("", "a", "a"), promotion=ARITHMETIC, complex=HOLOMORPHIC),
    "equal": OpFacts(promotion=COMPARE, complex=HOLOMORPHIC, functions="eq"),
    "not_equal": OpFacts(promotion=COMPARE, complex=HOLOMORPHIC, functions="ne not_equal"),
    "less": OpFacts(promotion=COMPARE, cpu_kernel="lt_cpu", functions="lt less"),
    "less_equal": OpFacts(promotion=COMPARE, cpu_kernel="le_cpu", functions="le less_equal"),
    "greater": OpFacts(promotion=COMPARE, cpu_kernel="gt_cpu", functions="gt greater"),
    "greater_equal": OpFacts(promotion=COMPARE, cpu_kernel="ge_cpu", functions="ge greater_equal"),
    "logical_and": OpFacts(promotion=KEEP, complex=HOLOMORPHIC, functions="logical_and"),
    "logical_or": OpFacts(promotion=KEEP, complex=HOLOMORPHIC, functions="logical_or"),
    "logical_not": OpFacts(promotion=KEEP, complex=HOLOMORPHIC, functions="logical_not"),
    "floor": OpFacts(saves=("",), promotion=ARITHMETIC,
        refusal=(NotImplementedError, "floor is not supported for complex inputs"), functions="floor",
        in_place="floor"),
    "ceil": OpFacts(saves=("",), promotion=ARITHMETIC,
        refusal=(NotImplementedError, "ceil is not supported for complex inputs"), functions="ceil", in_place="ceil"),
    "trunc": OpFacts(saves=("",), promotion=ARITHMETIC,
        refusal=(NotImplementedError, "trunc is not supported for complex inputs"), functions="trunc",
        in_place="trunc"),
    "round": OpFacts(saves=("",), promotion=ARITHMETIC, cpu_kernel="round_vml_cpu", functions="round",
        in_place="round"),
    "lerp": OpFacts(saves=("c", "c", "a b"), complex=HOLOMORPHIC, in_place="lerp"),
    "addcmul": OpFacts(saves=("", "c", "b"), complex=HOLOMORPHIC, in_place="addcmul"),
    "relu": OpFacts(saves=("a",), promotion=ARITHMETIC, refusal=_CLAMP, functions="relu", in_place="relu"),
    "relu6": OpFacts(saves=("a",), promotion=ARITHMETIC, node="HardtanhBackward0", refusal=_CLAMP),
    "leaky_relu": OpFacts(saves=("a",)),
    "hardtanh": OpFacts(saves=("a",), promotion=ARITHMETIC, refusal=_CLAMP),
    "hardsigmoid": OpFacts(saves=("a",)),
    "hardswish": OpFacts(saves=("a",), passes=True),
    "sigmoid": OpFacts(saves=("a out",), passes=True, complex=FORM, functions="sigmoid expit", in_place="sigmoid"),
    "log_sigmoid": OpFacts(saves=("a",), passes=True, functions="logsigmoid"),
    "softplus": OpFacts(saves=("a",), passes=True),
    "softsign": OpFacts(saves=("a",), passes=True, node="DivBackward0", complex=FORM),
    "silu": OpFacts(saves=("a",), passes=True),
    "gelu": OpFacts(saves=("a",), passes=True, cpu_kernel="GeluKernelImpl"),
    "elu": OpFacts(saves=("a",), passes=True, cpu_kernel="elu_cpu"),
    "selu": OpFacts(saves=("a",), passes=True, node="EluBackward0", cpu_kernel="elu_cpu"),
    "celu": OpFacts(saves=("a",), passes=True, cpu_kernel="elu_cpu"),
    "mish": OpFacts(saves=("a",), passes=True),
    "logit": OpFacts(saves=("a",), passes=True, functions="logit"),
    # special
    "erf": OpFacts(saves=("a",), cpu_kernel="erf_vml_cpu", functions="erf", in_place="erf"),
    "erfc": OpFacts(saves=("a",), cpu_kernel="erfc_vml_cpu", functions="erfc"),
    "erfinv": OpFacts(saves=("out",), cpu_kernel="erfinv_vml_cpu", functions="erfinv"),
    "lgamma": OpFacts(saves=("a",), cpu_kernel="lgamma_vml_cpu", functions="lgamma"),
    "digamma": OpFacts(saves=("a",), cpu_kernel="digamma", functions="digamma"),
    "polygamma": OpFacts(saves=("a",)),
    "erfcx": OpFacts(saves=("a",)),
    "ierfcx": OpFacts(saves=("a",)),
    "log_ndtr": OpFacts(saves=("a",)),
    "sinc": OpFacts(saves=("a",), functions="sinc"),
    "dsinc": OpFacts(saves=("a",)),
    "bessel_i": OpFacts(saves=("a",)),
    "squareplus": OpFacts(saves=("a out",)),
    "ndtr": OpFacts(saves=("a",)),
    "entr": OpFacts(saves=("a",)),
    # reduction
    "sum": OpFacts(saves=("a.shape",), promotion=ARITHMETIC, counts=True,
        node=_by_axis("SumBackward0", "SumBackward1"), complex=HOLOMORPHIC),
    "mean": OpFacts(saves=("a.shape",), node=_by_axis("MeanBackward0", "MeanBackward1"), complex=HOLOMORPHIC),
    "prod": OpFacts(saves=("a",), promotion=ARITHMETIC, counts=True, node=_by_axis("ProdBackward0", "ProdBackward1"),
        complex=HOLOMORPHIC),
    "max": OpFacts(saves=("a out",), promotion=ARITHMETIC, node=_by_axis("MaxBackward1", "AmaxBackward0"),
        cpu_kernel="max_all"),
    "min": OpFacts(saves=("a out",), promotion=ARITHMETIC, node=_by_axis("MinBackward1", "AminBackward0"),
        cpu_kernel="min_all"),
    "var": OpFacts(saves=("a",), complex=FORM),
    "std": OpFacts(saves=("a out",), complex=FORM),
    "logsumexp": OpFacts(saves=("a",)),
    "vector_norm": OpFacts(saves=("a out",), node="LinalgVectorNormBackward0", complex=FORM),
    "any": OpFacts(promotion=KEEP, complex=HOLOMORPHIC),
    "all": OpFacts(promotion=KEEP, complex=HOLOMORPHIC),
    "argmax": OpFacts(promotion=KEEP, refusal=(RuntimeError, "argmax(): does not support complex input")),
    "argmin": OpFacts(promotion=KEEP, refusal=(RuntimeError, "argmin(): does not support complex input")),
    "argsort": OpFacts(promotion=KEEP, refusal=_SORT),
    "sort": OpFacts(saves=("a",), refusal=_SORT),
    "cumulative_sum": OpFacts(saves=("",), promotion=ARITHMETIC, counts=True, node="CumsumBackward0",
        complex=HOLOMORPHIC, in_place="cumsum"),
    "cumulative_prod": OpFacts(saves=("a",), promotion=ARITHMETIC, counts=True, node="CumprodBackward0",
        complex=HOLOMORPHIC, in_place="cumprod"),
    # shape
    "reshape": OpFacts(saves=("a.shape",), promotion=KEEP, view=True, node="ViewBackward0", complex=HOLOMORPHIC),
    "permute_dims": OpFacts(saves=("",), promotion=KEEP, view=True, node="PermuteBackward0", complex=HOLOMORPHIC),
    "matrix_transpose": OpFacts(saves=("",), promotion=KEEP, view=True, node="TransposeBackward0",
        complex=HOLOMORPHIC),
    "moveaxis": OpFacts(saves=("",), promotion=KEEP, view=True, node="PermuteBackward0", complex=HOLOMORPHIC),
    "expand_dims": OpFacts(saves=("a.shape",), promotion=KEEP, view=True, node="UnsqueezeBackward0",
        complex=HOLOMORPHIC),
    "squeeze": OpFacts(saves=("a.shape",), promotion=KEEP, view=True, complex=HOLOMORPHIC),
    "broadcast_to": OpFacts(saves=("a.shape",), promotion=KEEP, view=True, node="ExpandBackward0",
        complex=HOLOMORPHIC),
    "concat": OpFacts(saves=("args.shape",), promotion=ARITHMETIC, node="CatBackward0", complex=HOLOMORPHIC),
    "stack": OpFacts(saves=("out.shape",), promotion=ARITHMETIC, complex=HOLOMORPHIC),
    "flip": OpFacts(saves=("",), promotion=KEEP, complex=HOLOMORPHIC),
    "roll": OpFacts(saves=("",), promotion=KEEP, complex=HOLOMORPHIC),
    "repeat": OpFacts(promotion=KEEP, node="ViewBackward0", complex=HOLOMORPHIC),
    "tile": OpFacts(promotion=KEEP, node="RepeatBackward0", complex=HOLOMORPHIC),
    "pad": OpFacts(saves=("a.shape",), promotion=KEEP, node="ConstantPadNdBackward0", complex=HOLOMORPHIC),
    "tril": OpFacts(saves=("",), promotion=KEEP, complex=HOLOMORPHIC, in_place="tril"),
    "triu": OpFacts(saves=("",), promotion=KEEP, complex=HOLOMORPHIC, in_place="triu"),
    "diagonal": OpFacts(saves=("a.shape",), promotion=KEEP, view=True, complex=HOLOMORPHIC),
    "diag_embed": OpFacts(saves=("",), complex=HOLOMORPHIC),
    # indexing
    "getitem": OpFacts(saves=("a.shape",), promotion=KEEP, view=True, node="SelectBackward0", complex=HOLOMORPHIC),
    "embed": OpFacts(saves=("",), promotion=KEEP, complex=HOLOMORPHIC),
    "take": OpFacts(saves=("b a.shape", ""), promotion=KEEP, node="IndexSelectBackward0", complex=HOLOMORPHIC),
    "index_add": OpFacts(saves=("", "", "b"), promotion=KEEP, adds=True, complex=HOLOMORPHIC, in_place="index_add"),
    "take_along_axis": OpFacts(saves=("b a.shape", ""), promotion=KEEP, node="GatherBackward0", complex=HOLOMORPHIC),
    "scatter_add": OpFacts(saves=("", "", "b"), promotion=KEEP, adds=True, complex=HOLOMORPHIC,
        in_place="scatter_add"),
    # linalg
    "matmul": OpFacts(saves=("b a.shape", "a b.shape"), promotion=ARITHMETIC, node=_matmul, complex=HOLOMORPHIC),
    "einsum": OpFacts(saves=("args",), promotion=ARITHMETIC, node="ViewBackward0", complex=HOLOMORPHIC),
    "outer": OpFacts(saves=("b", "a"), promotion=ARITHMETIC, node="MulBackward0", complex=HOLOMORPHIC),
    "vecdot": OpFacts(saves=("b", "a"), promotion=ARITHMETIC, node="SumBackward1", complex=FORM),
    "tensordot": OpFacts(promotion=ARITHMETIC, node="ViewBackward0", complex=HOLOMORPHIC),
    "cross": OpFacts(promotion=ARITHMETIC, node="LinalgCrossBackward0", complex=HOLOMORPHIC),
    "trace": OpFacts(promotion=ARITHMETIC, complex=HOLOMORPHIC, functions="trace"),
    "matrix_power": OpFacts(node="MmBackward0", complex=HOLOMORPHIC),
    "det": OpFacts(saves=("a out",), node="LinalgDetBackward0", complex=HOLOMORPHIC),
    "logabsdet": OpFacts(saves=("a",), node="LinalgSlogdetBackward0", complex=FORM),
    "inv": OpFacts(saves=("out",), node="LinalgInvExBackward0", complex=HOLOMORPHIC),
    "solve": OpFacts(saves=("a b.shape out", "a b.shape"), node="LinalgSolveExBackward0", complex=HOLOMORPHIC),
    "cholesky": OpFacts(saves=("out",), node="LinalgCholeskyExBackward0", complex=FORM),
    "solve_triangular": OpFacts(saves=("a out", "a b.shape"), node="LinalgSolveTriangularBackward0",
        complex=HOLOMORPHIC),
    # compositions
    "softmax": OpFacts(saves=("out",), cpu_kernel="softmax_lastdim_kernel_impl"),
    "log_softmax": OpFacts(saves=("out",), cpu_kernel="log_softmax_lastdim_kernel_impl"),
    "layer_norm": OpFacts(node="NativeLayerNormBackward0", cpu_kernel="LayerNormKernelImpl"),
    "rms_norm": OpFacts(node="MulBackward0"),
    "normalize": OpFacts(node="DivBackward0", complex=HOLOMORPHIC),
    "cosine_similarity": OpFacts(node="SumBackward1"),
    "linear": OpFacts(node="AddmmBackward0", complex=HOLOMORPHIC),
    "scaled_dot_product_attention": OpFacts(node="ScaledDotProductFlashAttentionForCpuBackward0"),
    "mse_loss": OpFacts(cpu_kernel="mse_cpu"),
    "nll_loss": OpFacts(saves=("b a.shape", "")),
    "cross_entropy": OpFacts(node="NllLossBackward0"),
    # neural
    "im2col": OpFacts(saves=("a.shape",)),
    "col2im": OpFacts(saves=("",)),
    "conv2d": OpFacts(saves=("b a.shape", "a b.shape"), node="ConvolutionBackward0"),
    "max_pool2d": OpFacts(saves=("a",), node="MaxPool2DWithIndicesBackward0"),
    "avg_pool2d": OpFacts(saves=("a.shape",), node="AvgPool2DBackward0"),
    "adaptive_avg_pool2d": OpFacts(node="AdaptiveAvgPool2DBackward0"),
    "batch_norm": OpFacts(saves=("a b", "a", "a.shape"), node="NativeBatchNormBackward0"),
    # the engine's own
    "clone": OpFacts(saves=("",), promotion=KEEP, complex=HOLOMORPHIC),
    "cast": OpFacts(saves=("",), promotion=KEEP, node="ToCopyBackward0", complex=HOLOMORPHIC),
    "pick_value": OpFacts(saves=("a out",), promotion=KEEP),
    "bce_of_each": OpFacts(saves=("a b", "a"), node="BinaryCrossEntropyBackward0"),
    "index": OpFacts(saves=("a.shape",), promotion=KEEP, indexes=True, complex=HOLOMORPHIC),
    "index_put_add": OpFacts(saves=("",), promotion=KEEP, adds=True, complex=HOLOMORPHIC),
    "index_put": OpFacts(saves=("", "b.shape"), promotion=KEEP, indexes=True, complex=HOLOMORPHIC),
    "as_strided": OpFacts(saves=("a.shape",), promotion=KEEP, view=True, complex=HOLOMORPHIC),
    "lay_out": OpFacts(saves=("",), promotion=KEEP, node="CloneBackward0", complex=HOLOMORPHIC),
    "conj": OpFacts(saves=("",), promotion=KEEP, complex=WIRTINGER),
    "real": OpFacts(saves=("",), promotion=KEEP, view=True, complex=WIRTINGER),
    "imag": OpFacts(saves=("",), promotion=KEEP, view=True, complex=WIRTINGER),
    "complex": OpFacts(saves=("", ""), promotion=KEEP, complex=WIRTINGER),
    "sgn": OpFacts(saves=("a out",), promotion=KEEP, complex=WIRTINGER),
    "angle": OpFacts(saves=("a",), promotion=KEEP, complex=WIRTINGER),
    "view_as_real": OpFacts(saves=("",), promotion=KEEP, view=True, complex=WIRTINGER),
    "view_as_complex": OpFacts(saves=("",), promotion=KEEP, view=True, complex=WIRTINGER),
    "fft": OpFacts(saves=("",), promotion=KEEP, node="FftC2CBackward0", complex=WIRTINGER),
}  # fmt: skip


_PLAIN = OpFacts()


def facts_of(op: str) -> OpFacts:
    """The op's record; that of a plain op where it has none."""
    return FACTS.get(op, _PLAIN)


def node_name(op: str) -> Names:
    """PyTorch's name of the op's backward node: log_softmax -> LogSoftmaxBackward0."""
    return facts_of(op).node or "".join(part.capitalize() for part in op.split("_")) + "Backward0"
