"""Every mapped ATen overload: its graph in NumPy against PyTorch's own forward value, here and at a point nearby."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from gradverify.frameworks.torch.aten import MAPPED, mapped  # noqa: E402
from gradverify.frameworks.torch.tracer import trace  # noqa: E402
from gradverify.namespaces.numpy import NUMPY  # noqa: E402
from gradverify.namespaces.run import forward  # noqa: E402

RNG = np.random.default_rng(7)


def r(*shape: int) -> Any:
    """Normal entries, none within 0.05 of a kink at 0, ±1/2 or ±1."""
    x = RNG.standard_normal(shape)
    near = np.abs(2 * x - np.round(2 * x)) < 0.1
    return torch.from_numpy(np.where(near, x + 0.12, x))


def pos(*shape: int) -> Any:
    return torch.from_numpy(RNG.uniform(0.2, 2.0, shape))


def unit(*shape: int) -> Any:
    return torch.from_numpy(RNG.uniform(0.1, 0.9, shape))


def ints(*shape: int, n: int = 3) -> Any:
    return torch.from_numpy(RNG.integers(0, n, shape))


def mask(*shape: int) -> Any:
    return torch.from_numpy(RNG.random(shape) < 0.5)


def spd(n: int) -> Any:
    a = r(n, n)
    return a @ a.T + n * torch.eye(n, dtype=a.dtype)


X, Y, P, U, V = r(2, 3), r(2, 3), pos(2, 3), unit(2, 3), r(3)
A, B, C = r(3, 3) + 4 * torch.eye(3, dtype=torch.float64), r(3, 2), r(2, 3, 3)
L = torch.tril(r(3, 3)) + 3 * torch.eye(3, dtype=torch.float64)
IMAGE, VOLUME, LINE = r(2, 4, 5, 6), r(1, 2, 4, 4, 4), r(2, 3, 7)
ROWS = torch.tensor([1, 0, 1])
I = torch.tensor([[0, 2, 1], [1, 1, 0]])

Args = tuple[Any, ...]


class Above(tuple):
    """Stands for the mask x > 0, taken inside the traced function."""

    x = property(lambda self: self[0])


M, N = Above((X,)), Above((Y,))


def unary(x: Any, names: str, **also: Any) -> dict[str, Args]:
    return {n: (x,) for n in names.split()} | also


CASES: dict[str, Args] = {
    **unary(X, "abs neg sgn sign square_ relu silu mish hardsigmoid hardswish sigmoid exp exp2 expm1 sin cos tan atan "
               "sinh cosh tanh asinh floor ceil trunc round frac erf erfc special_erfcx special_log_ndtr sinc celu gelu "
               "elu leaky_relu softplus log_sigmoid_forward hardtanh hardshrink softshrink alias detach clone lift "
               "lift_fresh lift_fresh_copy nan_to_num angle median nanmedian frexp.Tensor"),
    **unary(P, "reciprocal rsqrt sqrt log log1p log2 log10 lgamma digamma special_entr"),
    **unary(U, "asin acos atanh erfinv logit special_ndtri"),
    "acosh": (1 + P,),
    "logical_not": (X,),
    "bitwise_not": (M,),
    "isnan": (X,),
    "isinf": (X,),
    **{f"{n}.Tensor": (X, P) for n in "add sub rsub mul div remainder fmod eq ne lt le gt ge copysign".split()},
    **{f"{n}.Scalar": (X, 0.7) for n in "add sub rsub mul div remainder fmod eq ne lt le gt ge copysign".split()},
    "remainder.Scalar_Tensor": (2.3, P),
    "div.Tensor_mode": (X, P, {"rounding_mode": "floor"}),
    "div.Scalar_mode": (X, 0.7, {"rounding_mode": "trunc"}),
    "floor_divide": (X, P),
    "floor_divide.Scalar": (X, 0.7),
    "round.decimals": (X, {"decimals": 1}),
    "ldexp.Tensor": (X, Y),
    "atan2": (X, P),
    **{n: (X, Y) for n in "hypot logaddexp logaddexp2 maximum minimum fmax fmin heaviside".split()},
    **{n: (M, N) for n in "logical_and logical_or logical_xor".split()},
    **{f"bitwise_{n}.Tensor": (M, N) for n in "and or xor".split()},
    "pow.Tensor_Tensor": (P, X),
    "pow.Tensor_Scalar": (P, 2.5),
    "pow.Scalar": (2.5, X),
    "xlogy.Tensor": (X, P),
    "xlogy.Scalar_Other": (X, 0.7),
    "xlogy.Scalar_Self": (0.7, P),
    "special_xlog1py": (X, P),
    "special_xlog1py.other_scalar": (X, 0.7),
    "special_xlog1py.self_scalar": (0.7, P),
    "clamp": (X, -0.3, 0.4),
    "clamp.Tensor": (X, Y - 0.5, Y + 0.5),
    "clamp_min": (X, 0.1),
    "clamp_max": (X, 0.1),
    "clamp_min.Tensor": (X, Y),
    "clamp_max.Tensor": (X, Y),
    "where.self": (X > 0, X, Y),
    "lerp.Scalar": (X, Y, 0.3),
    "lerp.Tensor": (X, Y, U),
    "addcmul": (X, Y, P),
    "addcdiv": (X, Y, P),
    "polygamma": (2, P),
    "_prelu_kernel": (X, U),
    "threshold": (X, 0.3, -2.0),
    "glu": (r(2, 4),),
    "native_dropout": (X, 0.4, True),
    # reductions
    **{n: (X,) for n in "sum mean prod amax amin max min any all aminmax var.correction std.correction".split()},
    "any": (M,),
    "all": (M,),
    "any.dim": (M, 1),
    "all.dim": (M, 1, True),
    "any.dims": (M, [0, 1]),
    "all.dims": (M, [1]),
    "sum.dim_IntList": (X, [1], True),
    "mean.dim": (X, [0]),
    "prod.dim_int": (X, 1),
    "max.dim": (X, 1),
    "min.dim": (X, 0, True),
    "_softmax": (X, 1, False),
    "_log_softmax": (X, 0, False),
    "_safe_softmax": (torch.where(torch.tensor([[True], [False]]), X, -math.inf), 1),
    "logsumexp": (X, [1]),
    "var_mean.correction": (X, [1]),
    "std_mean.correction": (X, [1]),
    "linalg_vector_norm": (X, 3.0, [1]),
    "norm.Scalar": (X, 2),
    "norm.ScalarOpt_dim": (X, 1, [1], True),
    "cumsum": (X, 1),
    "cumprod": (X, 1),
    "logcumsumexp": (X, 1),
    "cummax": (X, 1),
    "cummin": (X, 0),
    "sort": (X, 1, True),
    "sort.stable": (X, {"stable": True, "dim": 0}),
    "topk": (X, 2),
    "median.dim": (X, 1),
    "nanmedian.dim": (X, 1, True),
    "mode": (X, 1),
    "kthvalue": (X, 2, 1, True),
    # shape
    "view": (X, [3, 2]),
    "_unsafe_view": (X, [6]),
    "_reshape_alias": (X, [3, 2], [2, 1]),
    "squeeze": (r(1, 3, 1),),
    "squeeze.dim": (r(1, 3), 0),
    "squeeze.dims": (r(1, 3, 1), [0, 2]),
    "unsqueeze": (X, -1),
    "_to_copy": (X,),
    "copy": (X, V),
    "fill.Tensor": (X, r()),
    "permute": (C, [2, 0, 1]),
    "transpose.int": (C, 0, -1),
    "t": (X,),
    "expand": (V, [2, -1]),
    "select.int": (C, 1, -1),
    "slice.Tensor": (C, 1, -2, 9, 2),
    "split.Tensor": (LINE, 3, 2),
    "split_with_sizes": (LINE, [3, 4], 2),
    "unsafe_split.Tensor": (LINE, 3, 2),
    "unsafe_split_with_sizes": (LINE, [3, 4], 2),
    "unbind.int": (X, 1),
    "cat": ([X, Y], 1),
    "stack": ([X, Y], -1),
    "flip": (X, [0, 1]),
    "roll": (X, [1, 2], [0, 1]),
    "repeat": (X, [2, 1, 2]),
    "constant_pad_nd": (X, [1, -1, 0, 2], 0.5),
    "reflection_pad1d": (LINE, [2, 1]),
    "reflection_pad2d": (IMAGE, [1, 2, 0, 1]),
    "reflection_pad3d": (VOLUME, [1, 1, 0, 1, 1, 0]),
    "replication_pad1d": (LINE, [2, 1]),
    "replication_pad2d": (IMAGE, [1, 2, 0, 1]),
    "replication_pad3d": (VOLUME, [1, 1, 0, 1, 1, 0]),
    "pixel_shuffle": (IMAGE, 2),
    "pixel_unshuffle": (r(1, 1, 4, 4), 2),
    "channel_shuffle": (IMAGE, 2),
    "rot90": (X, 1, [0, 1]),
    "unfold_copy": (LINE, 2, 3, 2),
    "tril": (A, -1),
    "triu": (A, 1),
    "diagonal": (C, 1, 1, 2),
    "diag_embed": (X, 1),
    # indexing
    "index.Tensor": (X, [None, torch.tensor([[0, 2], [1, 1]])]),
    "_unsafe_index.Tensor": (X, [torch.tensor([0, 1, 1]), torch.tensor([2, -1, 0])]),
    "index_select": (X, 1, ROWS),
    "gather": (X, 1, I),
    "take": (X, torch.tensor([[0, 5], [-1, 2]])),
    "embedding": (X, torch.tensor([[1, 0], [1, 1]])),
    "masked_select": (X, mask(2, 3)),
    "masked_fill.Scalar": (X, X > 0, 0.3),
    "masked_fill.Tensor": (X, mask(2, 3), r()),
    "masked_scatter": (X, mask(2, 3), Y),
    "put": (X, torch.tensor([0, 4]), r(2)),
    "index_put": (X, [torch.tensor([0, 1, 0]), torch.tensor([2, 1, 2])], V, True),
    "_unsafe_index_put": (X, [torch.tensor([0, 1])], r(2, 3)),
    "scatter.src": (X, 1, torch.tensor([[2, 0], [1, 2]]), Y),
    "scatter.value": (X, 1, torch.tensor([[2], [1]]), 0.3),
    "scatter_add": (X, 0, I.clamp(max=1), Y),
    "scatter_reduce.two": (X, 1, I, Y, "mean"),
    "index_reduce": (X, 1, ROWS, Y, "prod", {"include_self": False}),
    "index_add": (X, 1, ROWS, Y),
    "index_copy": (X, 1, torch.tensor([2, 0]), r(2, 2)),
    "index_fill.int_Scalar": (X, 1, torch.tensor([2, 0]), 0.3),
    "index_fill.int_Tensor": (X, 1, torch.tensor([2, 0]), r()),
    "select_scatter": (X, r(2), 1, -1),
    "slice_scatter": (X, r(2, 2), 1, 0, 3, 2),
    "diagonal_scatter": (A, r(3)),
    # linear algebra
    "mm": (X, A),
    "bmm": (C, r(2, 3, 4)),
    "mv": (X, V),
    "dot": (V, r(3)),
    "vdot": (V, r(3)),
    "addmm": (r(2), A, B),
    "addmv": (r(2), X, V),
    "addr": (X, r(2), V),
    "baddbmm": (X[:, None], C, C),
    "addbmm": (A, C, C),
    "trace": (A,),
    **dict.fromkeys(("i0", "special_i0e", "special_i1", "special_i1e"), (X,)),
    **dict.fromkeys(("igamma", "igammac"), (P, 3 * U)),
    "special_zeta": (1.5 + P, U),
    "special_zeta.self_scalar": (2.5, U),
    "special_zeta.other_scalar": (1.5 + P, 0.7),
    "linalg_householder_product": (r(4, 3), unit(2)),
    "linalg_cross": (A, V[None]),
    "_linalg_det": (A,),
    "_linalg_slogdet": (A,),
    "linalg_inv_ex": (A,),
    "_linalg_solve_ex": (A, B),
    "linalg_cholesky_ex": (spd(3),),
    "cholesky": (spd(3), True),
    "linalg_solve_triangular": (L, B, {"upper": False}),
    "triangular_solve": (B, L, False, True),
    "cholesky_solve": (B, L),
    "_cholesky_solve_helper": (B, L, False),
    "cholesky_inverse": (L,),
    "linalg_qr": (r(2, 4, 3),),
    "linalg_lu_factor_ex": (r(2, 4, 3),),
    "linalg_lu": (r(3, 4),),
    "lu_unpack": (r(3, 3), torch.tensor([2, 3, 3], dtype=torch.int32)),
    "linalg_lu_solve": (A, torch.tensor([2, 3, 3], dtype=torch.int32), B.T.contiguous(), {"left": False}),
    "_linalg_eigh": (spd(3),),
    "_linalg_svd": (r(2, 4, 3),),
    "linalg_pinv.atol_rtol_tensor": (r(3, 4),),
    "linalg_lstsq": (r(4, 3), r(4, 2)),
    "linalg_matrix_exp": (r(2, 3, 3),),
    "_trilinear": (X, r(4, 3, 3), Y, [1, 3], [0], [1, 2], [2, 3]),
    "_euclidean_dist": (X, r(4, 3)),
    "_cdist_forward": (X, r(4, 3), 2.0, None),
    "_pdist_forward": (r(4, 3), 2.0),
    # networks
    "convolution": (IMAGE, r(6, 2, 3, 2), r(6), [2, 1], [1, 0], [1, 2], False, [0, 0], 2),
    "_convolution": (LINE, r(2, 3, 2), None, [1], [1], [1], False, [0], 1, False, False, False, False),
    "native_batch_norm": (LINE, V, r(3), r(3), pos(3), False, 0.1, 1e-3),
    "_native_batch_norm_legit": (LINE, V, None, r(3), pos(3), True, 0.1, 1e-3),
    "_native_batch_norm_legit_no_training": (LINE, V, r(3), r(3), pos(3), 0.1, 1e-3),
    "_native_batch_norm_legit.no_stats": (LINE, None, None, True, 0.1, 1e-3),
    "_batch_norm_with_update": (LINE, V, r(3), r(3), pos(3), 0.1, 1e-3),
    "native_layer_norm": (X, [3], V, r(3), 1e-3),
    "native_group_norm": (r(2, 2, 7), r(2), r(2), 2, 2, 7, 2, 1e-3),
    "rrelu_with_noise": (X, torch.zeros_like(X), 0.1, 0.3, True),
    "_scaled_dot_product_flash_attention_for_cpu": (r(1, 2, 3, 4), r(1, 2, 3, 4), r(1, 2, 3, 4), 0.0, True),
    "max_pool2d_with_indices": (IMAGE, [2, 2], [2, 1], [1, 0]),
    "max_pool3d_with_indices": (VOLUME, [2, 2, 2]),
    "adaptive_max_pool2d": (IMAGE, [2, 3]),
    "adaptive_max_pool3d": (VOLUME, [2, 3, 2]),
    "fractional_max_pool2d": (IMAGE, [2, 2], [2, 3], unit(2, 4, 2)),
    "fractional_max_pool3d": (VOLUME, [2, 2, 2], [2, 2, 2], unit(1, 2, 3)),
    "max_unpool2d": (r(1, 1, 2), torch.tensor([[[0, 3]]]), [2, 2]),
    "avg_pool2d": (IMAGE, [2, 2], [2, 2], [1, 1], True, False),
    "avg_pool3d": (VOLUME, [2, 2, 2], [2, 2, 2], [1, 0, 1]),
    "_adaptive_avg_pool2d": (IMAGE, [2, 4]),
    "_adaptive_avg_pool3d": (VOLUME, [2, 3, 1]),
    "_upsample_bilinear2d_aa": (IMAGE, [3, 3], False),
    "upsample_bicubic2d": (IMAGE, [7, 4], True),
    "_upsample_bicubic2d_aa": (IMAGE, [3, 3], False),
    "_embedding_bag": (A, torch.tensor([0, 2, 1, 1]), torch.tensor([0, 1]), False, 1),
    # losses
    **{f"{n}_loss": (X, Y) for n in "mse smooth_l1 huber soft_margin".split()},
    "binary_cross_entropy": (U, unit(2, 3), pos(2, 3)),
    "binary_cross_entropy_with_logits": (X, U, None, pos(3)),
    "nll_loss_forward": (X, torch.tensor([2, 0]), pos(3), 1, -100),
    "nll_loss2d_forward": (IMAGE, ints(2, 5, 6), None, 0, 1),
}  # fmt: skip
CASES.pop("square_")

ELSEWHERE = {
    "_fused_rms_norm", "convolution_overrideable", "cudnn_batch_norm", "miopen_batch_norm",
    "_scaled_dot_product_flash_attention",
}  # fmt: skip
"""Overloads that only devices other than the CPU have; their mappings are those of overloads that are tested."""

COMPLEX = {"complex", "polar", "conj_physical", "_conj_physical", "_fft_c2c", "_fft_r2c", "_fft_c2r"}
"""Of complex numbers only: in `test_complex.py`."""

SAMPLES = {"as_strided_scatter", "normal.Tensor_float", "normal.float_Tensor", "normal.Tensor_Tensor"}
"""Whose gradients PyTorch has wrong: among OpInfo's samples, in `tests/frameworks/test_torch_samples.py`."""

SPARSE = {"_sparse_addmm"}
"""Of sparse tensors only: in `tests/api/test_sparse.py`."""


def overload(name: str) -> Callable[..., Any]:
    packet, _, which = name.partition(".")
    return getattr(getattr(torch.ops.aten, packet), which or "default")


def test_every_mapped_overload_has_a_case() -> None:
    assert set(MAPPED) == set(CASES) | ELSEWHERE | COMPLEX | SAMPLES | SPARSE
    assert not set(CASES) & (ELSEWHERE | COMPLEX)
    assert len(mapped()) >= 150


@pytest.mark.parametrize("name", sorted(MAPPED))
def test_the_overload_exists(name: str) -> None:
    assert overload(name)._schema


class Watched(dict):
    """The table, with the overloads that were looked up in it."""

    seen: set[str]

    def get(self, name: str, default: Any = None) -> Any:
        self.seen.add(name)
        return super().get(name, default)


def kept(result: Any) -> list[Any]:
    """The outputs that are compared: the first of those with by-products, else all."""
    outs = list(result) if isinstance(result, tuple | list) else [result]
    return [o.to(torch.float64) if o.dtype == torch.bool else o for o in outs]


BY_PRODUCTS = {
    "linalg_lu_factor_ex", "linalg_lstsq",
    "_linalg_det", "_linalg_slogdet", "_linalg_solve_ex", "log_sigmoid_forward", "nll_loss_forward", "nll_loss2d_forward",
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*TF32|.*deprecated|.*non-tuple")
@pytest.mark.parametrize("name", sorted(CASES))
def test_the_graph_computes_what_pytorch_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    op = overload(name)
    watched = Watched(MAPPED)
    watched.seen = set()
    monkeypatch.setattr("gradverify.frameworks.torch.tracer.MAPPED", watched)
    count = {"_linalg_slogdet": 2}.get(name, 1) if name in BY_PRODUCTS or "attention" in name else None

    def fn(*args: Any) -> Any:
        given = [a > 0 if k in masks else a for k, a in enumerate(args)]
        options = given.pop() if isinstance(given[-1], dict) else {}
        return [o for o in kept(op(*given, **options))[:count] if o.is_floating_point()]

    masks = {k for k, a in enumerate(CASES[name]) if isinstance(a, Above)}
    args = tuple(a.x if isinstance(a, Above) else a for a in CASES[name])
    traced = trace(fn, args, seed=3)
    assert name in watched.seen
    assert traced.graph is not None
    assert not traced.opaque
    nodes = forward(NUMPY, traced.graph, traced.values, "float64")
    got = [nodes[o] for o in traced.graph.outputs]
    tensors = [torch.from_numpy(np.array(traced.values[a.name])) for a in traced.arguments]
    want = [t.detach().numpy() for t in traced.function(*tensors)]
    assert len(got) == len(want) > 0
    for g, w in zip(got, want):
        assert g.shape == w.shape
        # Each op of the graph and of PyTorch errs by some ulps (at most 14 in the table), sums by one per term.
        terms = traced.graph.ops * 16 + max(int(np.prod(n.shape)) for n in traced.graph.nodes)
        scale = np.abs(w[np.isfinite(w)]).max(initial=1.0)
        np.testing.assert_allclose(g, w, rtol=0, atol=terms * 2.0**-52 * scale)
