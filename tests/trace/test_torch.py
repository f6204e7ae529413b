"""What the tracer of PyTorch makes of the structure around the ops: views, writes, branches, modules, custom code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from gradverify.core.errors import Unsupported  # noqa: E402
from gradverify.frameworks.recognise import trace as trace_any  # noqa: E402
from gradverify.frameworks.torch.tracer import trace  # noqa: E402
from gradverify.oracle.truth import truth  # noqa: E402
from gradverify.trace import Traced  # noqa: E402

from ..helpers import agrees  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*TF32")


def r(*shape: int) -> Any:
    return torch.from_numpy(np.random.default_rng(sum(shape) + len(shape)).standard_normal(shape))


X, W = r(2, 3), r(3, 4)


def ops(traced: Traced) -> list[str]:
    assert traced.graph is not None
    return [n.op for n in traced.graph.nodes if hasattr(n, "op")]


def wide(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for p in module.parameters():
        nn.init.normal_(p)
    return module.double()


# ---- arguments ------------------------------------------------------------------------------------------------------


def test_a_function() -> None:
    t = trace(lambda x, W: torch.tanh(x @ W).sum(), (X, W))
    assert ops(t) == ["matmul", "tanh", "sum"]
    assert [a.name for a in t.arguments] == ["x", "W"]
    assert t.wrt == ("x", "W")
    assert (t.dtype, t.framework, t.notes, t.opaque) == ("float64", "torch", (), ())
    agrees(t, torch.tanh(X @ W).sum())


def test_the_framework_is_recognised() -> None:
    assert trace_any(torch.sin, X).framework == "torch"
    assert trace_any(lambda p: p["w"].sin(), {"w": X}).framework == "torch"
    with pytest.raises(ValueError, match=r"no array of PyTorch or JAX .*float"):
        trace_any(abs, 1.0)


def test_names_of_nested_and_keyword_arguments() -> None:
    def f(params: Any, *rest: Any, scale: Any = 1.0, **more: Any) -> Any:
        return params["w"][0] * rest[1] * scale + more["bias"]

    t = trace(f, ({"w": [X]}, 3, X), {"scale": X, "bias": X})
    assert [a.name for a in t.arguments] == ["params['w'][0]", "rest[1]", "scale", "bias"]
    agrees(t, X**3 + X)


def test_requires_grad_chooses_what_is_differentiated() -> None:
    t = trace(torch.mul, (X, X.clone().requires_grad_()))
    assert t.wrt == (t.arguments[1].name,)
    assert [a.wanted for a in t.arguments] == [False, True]


def test_the_same_tensor_twice_is_two_inputs() -> None:
    t = trace(lambda x, y: x * y, (X, X))
    assert t.graph is not None
    assert len(t.graph.inputs) == 2


def test_integers_and_masks_are_inputs_without_gradient() -> None:
    i, m = torch.tensor([1, 0, 1]), X[0] > 0
    t = trace(lambda x, i, m: torch.where(m, F.embedding(i, x), 0.0), (X, i, m))
    assert [a.kind for a in t.arguments] == ["float", "int", "bool"]
    assert t.wrt == ("x",)
    assert ops(t) == ["take", "where"]
    assert not any(a.role == "captured" for a in t.arguments)


def test_closed_over_tensors_are_held() -> None:
    weights = r(3, 20)
    t = trace(lambda x: x @ weights, (X,))
    assert [(a.name, a.role) for a in t.arguments] == [("x", "argument"), ("weights", "captured")]
    assert t.wrt == ("x",)
    np.testing.assert_array_equal(t.values["weights"], weights.numpy())
    agrees(t, X @ weights)


def test_closed_over_tensors_that_require_grad_are_noted() -> None:
    w = r(3).requires_grad_()
    t = trace(lambda x: x * w, (X,))
    assert any("closed over" in n for n in t.notes)
    assert t.wrt == ("x",)


def test_empty_and_0d() -> None:
    t = trace(lambda x, y: (x.sum() + y, x * 2), (torch.zeros(0, 3), torch.tensor(2.0)))
    assert [o.shape for o in t.outputs] == [(), (0, 3)]
    agrees(t, torch.tensor(2.0), torch.zeros(0, 3))


def test_layouts_survive() -> None:
    seen = []

    def f(x: Any) -> Any:
        seen.append((x.stride(), x.storage_offset()))
        return x.as_strided((2, 2), (1, 2), 1).sum() + x.sum()

    x = r(4, 4)[1:, ::2].T
    t = trace(f, (x,))
    assert seen[0] == (x.stride(), x.storage_offset())
    agrees(t, f(x))


def test_the_callers_tensors_are_not_written_to() -> None:
    x = r(2, 3)
    before = x.clone()
    t = trace(lambda x: x.mul_(2) + 1, (x,))
    assert t.notes == ("the function writes to its argument x",)
    agrees(t, 2 * x + 1)
    assert torch.equal(x, before)
    assert not x.requires_grad


# ---- modules --------------------------------------------------------------------------------------------------------


def test_a_module_by_its_qualified_names() -> None:
    m = wide(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.ReLU()))
    buffers = {n: b.clone() for n, b in m.named_buffers()}
    t = trace(m, (X,))
    assert [a.name for a in t.arguments][1:3] == ["0.weight", "0.bias"]
    assert all(a.role == "parameter" for a in t.arguments[1:])
    assert t.wrt == ("input", "0.weight", "0.bias", "1.weight", "1.bias")
    for n, b in m.named_buffers():
        assert torch.equal(b, buffers[n]), "running statistics moved"
    agrees(t, m(X))


def test_buffers_are_captured_by_name() -> None:
    m = wide(nn.BatchNorm1d(3)).eval()
    m.running_mean.copy_(torch.arange(3.0))
    t = trace(m, (X,))
    agrees(t, m(X))


def test_a_bound_method_and_tied_weights() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(3, 3, bias=False)
            self.b = nn.Linear(3, 3, bias=False)
            self.b.weight = self.a.weight

        def twice(self, x: Any) -> Any:
            return self.b(self.a(x))

    m = wide(Tied())
    t = trace(m.twice, (X,))
    assert [a.name for a in t.arguments] == ["x", "a.weight"]
    agrees(t, m.twice(X))


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.LSTM(3, 2), (2, 1, 3)),
        (nn.GRU(3, 2, bidirectional=True), (2, 1, 3)),
        (nn.MultiheadAttention(4, 2), None),
        (nn.TransformerEncoderLayer(4, 2, 5, dropout=0.0), (2, 3, 4)),
        (nn.ConvTranspose2d(2, 4, 3, stride=2, padding=1, output_padding=1, groups=2), (1, 2, 3, 3)),
        (nn.ConvTranspose3d(1, 2, 2, stride=2, dilation=2), (1, 1, 2, 2, 2)),
        (nn.Conv3d(2, 2, 2, stride=2, padding=1, groups=2), (1, 2, 3, 3, 3)),
        (nn.GroupNorm(2, 4), (2, 4, 3)),
        (nn.Bilinear(3, 4, 2), None),
        (nn.Upsample(scale_factor=1.5, mode="bilinear"), (1, 1, 3, 3)),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else "",
)
def test_layers(module: nn.Module, shape: Any) -> None:
    m = wide(module)
    inputs = {nn.MultiheadAttention: (r(2, 3, 4),) * 3, nn.Bilinear: (r(2, 3), r(2, 4))}.get(type(m)) or (r(*shape),)
    t = trace(m, inputs)
    leaves = torch.utils._pytree.tree_leaves(m(*inputs))
    agrees(t, *(leaf for leaf in leaves if leaf.is_floating_point()))


# ---- views and writes -----------------------------------------------------------------------------------------------


def writes_through_views(x: Any) -> Any:
    y = x * 2
    row = y[0]
    row.add_(1.0)
    y[:, 1].mul_(x[:, 2])
    return y.sum(0) * row


def fills_a_buffer(x: Any) -> Any:
    out = torch.zeros(2, 3, dtype=x.dtype)
    out[0] = x[1]
    out[1, 1:] = x[0, :2]
    out[out > 1.0] = 0.5
    return out


def writes_out(x: Any) -> Any:
    out = torch.empty(2, 3, dtype=torch.float64)
    with torch.no_grad():
        torch.mul(x, 3.0, out=out)
    return out + x


def overlapping(x: Any) -> Any:
    windows = (x * 1.0).view(-1).unfold(0, 3, 1)
    return (windows * windows).sum(0)


def transposed_in_place(x: Any) -> Any:
    y = x * 1.0
    y.t_()
    y[0].mul_(2.0)
    return y


def masks_written(x: Any) -> Any:
    m = x > 0
    m[0, 0] = True
    return torch.where(m, x, -x)


@pytest.mark.parametrize(
    "f", [writes_through_views, fills_a_buffer, writes_out, overlapping, transposed_in_place, masks_written]
)
def test_writes(f: Any) -> None:
    agrees(trace(f, (X,)), f(X))


def test_the_derivative_of_writes_through_views() -> None:
    t = trace(writes_through_views, (X,))
    assert t.graph is not None
    g = r(3)
    found = truth(t.graph, t.values, (g.numpy(),), ("x",), "float64")
    x = X.clone().requires_grad_()
    (want,) = torch.autograd.grad(writes_through_views(x), x, g)
    np.testing.assert_allclose(found.gradients["x"].hi, want.numpy(), rtol=1e-14, atol=1e-14)


# ---- what depends on values -----------------------------------------------------------------------------------------


def test_a_branch_is_the_one_taken_here() -> None:
    f = lambda x: x.sin() if x.sum() > 0 else x.cos()
    t = trace(f, (X,))
    assert t.graph is not None
    assert any("branch" in n for n in t.notes)
    assert ("sin" if X.sum() > 0 else "cos") in ops(t)
    agrees(t, f(X))


def test_torch_cond() -> None:
    f = lambda x: torch.cond(x.sum() > 0, lambda x: x.sin(), lambda x: x.cos(), (x,))
    agrees(trace(f, (X,)), X.sin() if X.sum() > 0 else X.cos())


def test_random_draws_are_held() -> None:
    t = trace(lambda x: F.dropout(x, 0.5) + torch.rand_like(x), (X,), seed=5)
    assert any("random" in n for n in t.notes)
    (a,), (b,) = t.function(X), t.function(X)
    assert torch.equal(a, b)
    agrees(t, a)


def test_the_callers_generator_is_left_alone() -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    trace(lambda x: F.dropout(x, 0.5), (X,))
    assert torch.equal(torch.rand(3), expected)


def test_draws_with_live_parameters_are_refused() -> None:
    with pytest.raises(Unsupported, match="draws with parameters that depend on the inputs"):
        trace(lambda x: torch.bernoulli(torch.sigmoid(x)) * x, (X,))


@pytest.mark.parametrize(("left", "adjoint"), [(a, b) for a in (True, False) for b in (True, False)])
def test_lu_systems(left: bool, adjoint: bool) -> None:
    def f(a: Any, b: Any) -> Any:
        lu, pivots = torch.linalg.lu_factor(a)
        return torch.linalg.lu_solve(lu, pivots, b, left=left, adjoint=adjoint)

    a, b = r(3, 3), r(3, 2) if left else r(2, 3)
    agrees(trace(f, (a, b)), f(a, b))


def test_a_number_that_comes_back_is_refused() -> None:
    with pytest.raises(Unsupported, match=r"a number that was read from a tensor goes back"):
        trace(lambda x: x / x.norm().item(), (X,))


def test_a_detour_over_numpy_is_refused() -> None:
    with pytest.raises(Unsupported, match=r"leave PyTorch's sight \(Tensor.numpy\)"):
        trace(lambda x: x * torch.from_numpy(np.sin(x.detach().numpy())), (X,))


def test_a_function_that_is_not_reproducible_is_refused() -> None:
    count = iter(range(100))
    with pytest.raises(Unsupported, match="the recorded operations are not the function"):
        trace(lambda x: x * next(count), (X,))


def test_without_strict_the_reasons_are_in_the_trace() -> None:
    t = trace(lambda x: torch.special.airy_ai(x).sum(), (X,), strict=False)
    assert t.graph is None
    assert t.opaque == ("aten.special_airy_ai.default has no counterpart in the op table",)
    assert [a.name for a in t.arguments] == ["x"]
    assert [o.position for o in t.outputs] == [0]
    torch.testing.assert_close(t.function(X)[0], torch.special.airy_ai(X).sum())


def test_what_the_function_raises_is_passed_on() -> None:
    with pytest.raises(ZeroDivisionError):
        trace(lambda x: x * (1 / 0), (X,))


@pytest.mark.parametrize(
    ("x", "message"),
    [(X.to(torch.complex32), "x is complex32"), (X.to_sparse(), "x has layout torch.sparse_coo")],
)
def test_inputs_that_are_refused(x: Any, message: str) -> None:
    with pytest.raises(Unsupported, match=message):
        trace(lambda x: x, (x,))


def test_no_float_output_is_refused() -> None:
    with pytest.raises(Unsupported, match="returns no floating-point tensor"):
        trace(lambda x: x.argmax(), (X,))
    with pytest.raises(Unsupported, match="returns no floating-point tensor"):
        trace(lambda x: None, (X,))


# ---- outputs --------------------------------------------------------------------------------------------------------


def test_outputs_of_all_sorts() -> None:
    x = X.clone().requires_grad_()
    t = trace(lambda x: {"i": x.argmax(-1), "d": x.detach() * 1, "c": torch.ones(3), "y": (x * 2, "text")}, (x,))
    found = {o.path: (o.kind, o.position, o.depends, o.detached) for o in t.outputs}
    assert found == {
        "['i']": ("int", None, False, False),
        "['d']": ("float", 0, True, True),
        "['c']": ("float", 1, False, False),
        "['y'][0]": ("float", 2, True, False),
        "['y'][1]": ("str", None, False, False),
    }


def test_detached_values() -> None:
    f = lambda x: x.detach() * x
    through = trace(f, (X,))
    assert through.graph is not None
    assert [n for n in through.notes if "detached" in n]
    stopped = trace(f, (X,), stop_detached=True)
    assert stopped.graph is not None
    one = (np.ones((2, 3)),)
    gradients = [truth(t.graph, t.values, one, ("x",), "float64").gradients["x"].hi for t in (through, stopped)]
    np.testing.assert_allclose(gradients[0], 2 * X.numpy())
    np.testing.assert_allclose(gradients[1], X.numpy())


# ---- code of the user's own -----------------------------------------------------------------------------------------


class Exp(torch.autograd.Function):
    """Old style, with a detour over detach, and a wrong backward that must not matter."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        y = x.detach().exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * 7


def test_a_custom_function_is_seen_through() -> None:
    t = trace(lambda x: Exp.apply(x) * 2, (X.clone().requires_grad_(),))
    assert ops(t) == ["exp", "multiply"]
    assert t.notes == ()
    agrees(t, X.exp() * 2)


def test_gradients_inside_the_function() -> None:
    def f(x: Any) -> Any:
        (g,) = torch.autograd.grad(F.layer_norm(x, (3,)).tanh().pow(3).sum(), x, create_graph=True)
        return g

    x = X.clone().requires_grad_()
    t = trace(f, (x,))
    assert t.notes == ()
    agrees(t, f(x))


def test_transforms_checkpoints_and_compiled_functions() -> None:
    body = lambda x: (x.sin() * x).sum()
    x = X.clone().requires_grad_()
    agrees(trace(torch.vmap(body), (X,)), torch.vmap(body)(X))
    agrees(trace(torch.func.grad(body), (X,)), torch.func.grad(body)(X))
    agrees(trace(lambda x: checkpoint(body, x, use_reentrant=False), (x,)), body(X))
    agrees(trace(torch.compile(body), (X,)), body(X))


@torch.library.custom_op("gradverify_tests::swish", mutates_args=())
def swish(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(x)


@torch.library.custom_op("gradverify_tests::hidden", mutates_args=())
def hidden(x: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.sin(x.numpy()))


def test_custom_operators() -> None:
    assert ops(trace(lambda x: swish(x), (X,))) == ["sigmoid", "multiply"]
    with pytest.raises(Unsupported, match="left PyTorch's sight"):
        trace(lambda x: hidden(x), (X,))


def test_casts_are_the_identity_and_noted() -> None:
    t = trace(lambda x: (x.float() * 2).double(), (X,))
    assert ops(t) == ["multiply"] * 3  # each cast rounds: by 1
    assert t.notes == ("a cast from float64 to float32 inside the function is the identity to the definition",)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_lower_dtypes(dtype: Any) -> None:
    t = trace(lambda x, w: F.softmax(x @ w, -1), (X.to(dtype), W.to(dtype)))
    assert t.dtype == str(dtype).removeprefix("torch.")
    assert {a.dtype for a in t.arguments} == {t.dtype}
