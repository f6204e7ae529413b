"""Right functions that probes, differences or layouts must not accuse, each kind with twins that are wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradverify import Outcome, Verdict, check
from gradverify.core.verdict import FailKind
from gradverify.judge.compare import compare
from gradverify.namespaces.dtypes import FORMATS
from gradverify.oracle.estimate import Estimate

torch = pytest.importorskip("torch")
D = torch.float64


def t(*values: Any, dtype: Any = D) -> Any:
    return torch.tensor(values, dtype=dtype, requires_grad=True)


def scalar(value: float, dtype: Any = D) -> Any:
    return torch.tensor(value, dtype=dtype, requires_grad=True)


def rule(forward: Callable[..., Any], backward: Callable[..., Any]) -> Callable[..., Any]:
    """A custom Function of a forward(*args) and a backward(g, *args)."""

    class Rule(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *args: Any) -> Any:
            ctx.save_for_backward(*args)
            return forward(*args)

        @staticmethod
        def backward(ctx: Any, *g: Any) -> Any:
            return backward(*g, *ctx.saved_tensors)

    return Rule.apply  # type: ignore[no-any-return]


def is_right(v: Verdict) -> bool:
    return v.outcome in (Outcome.PASS, Outcome.WEAK, Outcome.KNOWN)


def is_wrong(v: Verdict) -> bool:
    return v.outcome is Outcome.FAIL


# ---- opaque functions of numbers ------------------------------------------------------------------------------------


def through_numpy(f: Callable[[np.ndarray], np.ndarray], slope: float) -> Callable[..., Any]:
    return rule(lambda x: torch.from_numpy(np.array(f(x.detach().numpy()))), lambda g, x: slope * g)


def test_an_opaque_function_of_a_number_is_judged() -> None:
    assert is_right(check(through_numpy(lambda x: x * 0 + 3.0, 0.0), scalar(0.7)))
    assert is_right(check(through_numpy(lambda x: 2.0 * x, 2.0), scalar(0.0)))
    assert is_wrong(check(through_numpy(lambda x: 2.0 * x, 2.1), scalar(0.3)))
    _ = check(torch.nextafter, scalar(0.3), scalar(0.5))  # it does not crash


# ---- outputs that do not require grad -------------------------------------------------------------------------------


def with_detached(factor: float) -> Callable[..., Any]:
    class Both(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            mean = x.mean()
            ctx.mark_non_differentiable(mean)
            ctx.save_for_backward(x)
            return mean, x.sin()

        @staticmethod
        def backward(ctx: Any, g_mean: Any, g: Any) -> Any:
            return factor * g * ctx.saved_tensors[0].cos()

    return lambda x: Both.apply(x)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: torch.native_layer_norm(x, (3,), None, None, 1e-5),
        lambda x: {"loss": (x * x).sum(), "entropy": x.detach().exp().sum()},
        lambda x: ((x * (1 + 2j)).detach(), x * (1 + 2j)),
        with_detached(1.0),
    ],
)
def test_outputs_that_do_not_require_grad_are_not_judged(f: Any) -> None:
    v = check(f, t([0.3, -0.4, 1.2], [0.7, 0.2, -1.0]))
    assert is_right(v), v
    assert any("do not require grad" in n for n in v.notes)


def test_an_output_beside_one_that_does_not_require_grad_is_judged() -> None:
    assert is_wrong(check(with_detached(1.01), t([0.3, -0.4, 1.2])))
    assert is_wrong(check(lambda x: (x.detach().exp(), x.detach() * x), t(0.3, -0.4)))


# ---- stepwise functions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "f",
    [
        lambda x: (x + 1e8) - 1e8,
        lambda x: torch.sin(1e6 * x),
        lambda x: ((x * 1e-3 + 1) - 1) * 1e3,
        lambda x: torch.cos(x + 3e7) - x,
    ],
)
def test_functions_that_are_stepwise_in_float32_are_right(f: Any) -> None:
    assert is_right(check(f, t(0.25, 0.3)))
    v = check(f, t(0.25, 0.3, dtype=torch.float32))
    assert not is_wrong(v), v


def test_what_leaves_the_graph_in_float32_is_still_seen() -> None:
    f = rule(lambda x: torch.from_numpy(np.sin(x.detach().numpy())), lambda g, x: g * x.cos() * 1.01)
    assert is_wrong(check(f, t(0.25, 0.3, dtype=torch.float32)))


# ---- other points ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args", [(scalar(3e-200), scalar(4e-200)), (scalar(3e200), scalar(1e200)), (t(1e-310, 1.0), t(0.0, 2.0))]
)
def test_what_leaves_the_range_of_float32_is_another_point(args: Any) -> None:
    assert not is_wrong(check(torch.hypot, *args))


@pytest.mark.parametrize(
    ("forward", "backward", "x"),
    [
        (lambda x: torch.hypot(x[0], x[1]), lambda g, x: g * x / torch.hypot(x[0], x[1]), t(3.0, 4.0)),
        (lambda x: x[0] * x[1], lambda g, x: g * x.flip(0), t(3.0, 4.0)),
        (
            lambda m: m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0],
            lambda g, m: g * torch.stack([m[1].flip(0), m[0].flip(0)]) * torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).to(m),
            t([1.0, 2.0], [0.3, 4.0]),
        ),
    ],
)
def test_entries_that_are_not_read_are_no_batch(forward: Any, backward: Any, x: Any) -> None:
    assert is_right(check(rule(forward, backward), x))


def test_a_row_that_is_read_is_a_batch() -> None:
    def backward(g: Any, x: Any) -> Any:
        return g * x.cos() * (torch.arange(len(x)) < 2)[:, None]

    assert is_wrong(check(rule(torch.sin, backward), t([0.3, 0.1], [0.5, 2.0])))


def test_a_row_that_is_stretched_is_no_batch() -> None:
    c = torch.tensor([0.5, 2.0, -1.0], dtype=D)
    w = torch.tensor([[0.5, 2.0, -1.0], [1.0, 0.1, 0.2], [0.3, 0.4, 0.5], [2.0, 1.0, 0.7]], dtype=D, requires_grad=True)
    assert is_right(check(rule(lambda x: x * c, lambda g, x: g * c), t(1.0, 2.0, 3.0)))
    assert is_right(check(rule(lambda x: x + c.exp(), lambda g, x: g * torch.ones(3, dtype=D)), t(1.0, 2.0, 3.0)))
    product = rule(lambda x, w: x * w, lambda g, x, w: ((g * w).sum(0), g * x))
    assert is_right(check(product, t(1.0, 2.0, 3.0), w))


def test_a_target_is_not_shared() -> None:
    f = rule(lambda p, y: (p * y + y.exp()).sum(), lambda g, p, y: (g * y, None))
    assert is_right(check(f, t(0.2, 0.7), torch.tensor([0.1, 1.0], dtype=D)))
    g = rule(lambda p, y: (p * y).sum(), lambda g, p, y: (g * y, g * p))
    assert is_right(check(g, t(0.2, 0.7), t(0.1, 1.0)))


@pytest.mark.parametrize("second", [t([0.3, -0.2], [1.1, 0.4]), torch.tensor([[0.3, -0.2], [1.1, 0.4]], dtype=D)])
def test_a_gradient_inside_needs_its_argument_to_require_grad(second: Any) -> None:
    def penalty(x: Any, w: Any) -> Any:
        (g,) = torch.autograd.grad(torch.tanh(x @ w).sum(), x, create_graph=True)
        return (g.norm(dim=-1) - 1).pow(2).mean()

    def residual(x: Any, w: Any) -> Any:
        u = (x @ w).sin()
        (du,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        return ((du + u @ w) ** 2).sum()

    x = t([0.3, 0.9], [0.2, -0.7], [1.0, 0.1])
    assert is_right(check(penalty, x, second))
    assert is_right(check(residual, x, second))


# ---- layouts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "build",
    [
        lambda: torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)),
        lambda: torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Tanh()).eval(),
        lambda: torch.nn.Sequential(torch.nn.Unflatten(1, (1, 3)), torch.nn.Conv1d(1, 2, 2), torch.nn.GroupNorm(1, 2)),
    ],
)
def test_parameters_keep_their_layout(build: Any) -> None:
    torch.manual_seed(0)
    assert is_right(check(build().double(), torch.randn(4, 3, dtype=D)))


def test_the_layout_of_arguments_is_still_asked() -> None:
    f = rule(lambda x: x * x, lambda g, x: 2 * g * x if x.is_contiguous() else g * x)
    assert check(f, t([0.1, 0.2], [0.3, 0.4])).kind is FailKind.LAW


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x.as_strided((2, 2), (1, 2), 0) * x.sum(),
        lambda x: x.as_strided((3,), (2,), 11) ** 2,
        lambda x: x.as_strided((4,), (3,)) + x[:4],
    ],
)
def test_where_a_tensor_begins_in_its_storage_is_kept(f: Any) -> None:
    base = torch.arange(30.0, dtype=D).sin()
    assert is_right(check(f, base[10:20].detach().requires_grad_()))


def test_a_wrong_rule_on_a_view_with_an_offset_is_seen() -> None:
    base = torch.arange(30.0, dtype=D).sin()
    f = rule(torch.sin, lambda g, x: g * x.cos() * (1 + 1e-9))
    assert is_wrong(check(f, base[10:20].detach().requires_grad_()))


# ---- modules --------------------------------------------------------------------------------------------------------


class Affine(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, share: float = 1.0) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor([[0.3, -1.0], [0.2, 0.5], [1.5, 0.1]], dtype=D))
        self.f = rule(lambda x, w: x @ w, lambda g, x, w: (share * g @ w.T, x.T @ g))

    def forward(self, x: Any) -> Any:
        return self.f(x, self.w)


X = torch.tensor([[0.3, 0.1, -0.4], [1.0, 2.0, 0.7]], dtype=D)


def test_a_module_is_judged_in_its_argument_too() -> None:
    assert is_right(check(Affine(), X))
    assert is_wrong(check(Affine(0.5), X))
    assert is_wrong(check(torch.nn.Sequential(torch.nn.Tanh(), Affine(0.5)), X))
    frozen = Affine(0.5)
    frozen.w.requires_grad_(False)
    assert is_wrong(check(frozen, X))
    assert is_right(check(Affine(0.5), X, wrt=["w"]))


def test_a_module_of_integers_is_judged_in_its_parameters() -> None:
    torch.manual_seed(0)
    assert is_right(check(torch.nn.Embedding(5, 3).double(), torch.tensor([0, 3, 3])))


def test_a_hook_on_a_parameter_is_part_of_its_gradient() -> None:
    m = torch.nn.Linear(3, 2).double()
    handle = m.bias.register_hook(lambda g: g + 1)
    v = check(m, X)
    assert is_wrong(v)
    assert any("bias has hooks" in n for n in v.notes)
    handle.remove()
    assert is_right(check(m, X))
    m.weight.register_hook(lambda g: None)  # it looks, and changes nothing
    assert is_right(check(m, X))


# ---- which entry is the worst ---------------------------------------------------------------------------------------


def test_the_worst_entry_is_named() -> None:
    want = Estimate(np.ones(3), np.zeros(3), np.zeros(3))
    found = compare("dx", np.array([1 + 1e-6, 3.0, 1.0]), want, np.full(3, 1e-12), FORMATS["float64"])
    assert found.comparison.worst is not None
    assert found.comparison.worst.index == (1,)
    one = compare("dx", np.array([1.0, 1.0, np.nan]), want, np.full(3, 1e-12), FORMATS["float64"])
    assert one.comparison.worst is not None
    assert one.comparison.worst.index == (2,)


# ---- what no single call shows --------------------------------------------------------------------------------------


def test_a_backward_pass_that_writes_to_what_it_saved() -> None:
    def scaled(*, in_place: bool) -> Callable[..., Any]:
        def backward(g: Any, buffer: Any) -> Any:
            if not in_place:
                return buffer * g
            buffer.data.mul_(g)  # out of sight of the check of versions
            return buffer.clone()

        class Scaled(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, x: Any) -> Any:
                ctx.save_for_backward(x.cos())
                return x.sin()

            @staticmethod
            @torch.autograd.function.once_differentiable
            def backward(ctx: Any, g: Any) -> Any:
                return backward(g, *ctx.saved_tensors)

        return lambda x: Scaled.apply(x)

    assert is_wrong(check(scaled(in_place=True), t(0.3, 1.2)))
    assert is_right(check(scaled(in_place=False), t(0.3, 1.2)))


def tail(block: int, *, wrong: bool) -> Callable[..., Any]:
    def backward(g: Any, q: Any, k: Any) -> Any:
        dk = g.T @ q
        if wrong and len(k) % block:
            dk = torch.cat([dk[:-1], 0 * dk[-1:]])
        return g @ k, dk

    return rule(lambda q, k: q @ k.T, backward)


@pytest.mark.parametrize("rows", [4, 8])
def test_a_tail_of_one_size_alone(rows: int) -> None:
    torch.manual_seed(0)
    q, k = (torch.randn(n, 3, dtype=D, requires_grad=True) for n in (6, rows))
    assert is_wrong(check(tail(4, wrong=True), q, k))
    assert is_right(check(tail(4, wrong=False), q, k))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_exponentials_that_end_far_out(dtype: Any) -> None:
    x = t(-0.2, 0.1, 0.3, dtype=dtype)
    softplus = torch.nn.functional.softplus
    assert check(rule(softplus, lambda g, x: g * x.exp() / (1 + x.exp())), x).kind is FailKind.NON_FINITE
    assert is_right(check(rule(softplus, lambda g, x: g * torch.sigmoid(x)), x))
    logistic = rule(torch.tanh, lambda g, x: g * (1 - torch.tanh(x)) * (1 + torch.tanh(x)))
    assert not is_wrong(check(logistic, x))


# ---- graphs that are not the function -------------------------------------------------------------------------------


def halved(x: Any, f: Callable[[Any], Any]) -> Any:
    """Where f(y) = x, for an increasing f, by bisection of [0, 1 + x]."""
    lo, hi = torch.zeros_like(x), x + 1
    for _ in range(55):
        mid = (lo + hi) / 2
        up = f(mid) <= x
        lo, hi = torch.where(up, mid, lo), torch.where(up, hi, mid)
    return lo


def test_a_bisection_is_judged_by_its_differences() -> None:
    cube = lambda x: halved(x, lambda y: y**3 + y)
    slope = lambda x: 1 / (3 * cube(x) ** 2 + 1)
    assert is_right(check(rule(cube, lambda g, x: g * slope(x)), t(0.3, 1.7), effort="quick"))
    assert is_wrong(check(rule(cube, lambda g, x: g * slope(x) * 1.01), t(0.3, 1.7), effort="quick"))
    log = lambda x: halved(x, torch.expm1)
    assert is_right(check(rule(log, lambda g, x: g / (1 + x)), t(0.3, 1.7), effort="quick"))


def test_the_likelihood_with_a_clamped_variance() -> None:
    loss = torch.nn.functional.gaussian_nll_loss
    zero, one = torch.zeros(2, dtype=D), torch.ones(2, dtype=D)
    assert is_right(check(lambda v: loss(zero, one, v), t(1e-8, 0.5)))
    assert is_right(check(lambda m, v: loss(m, one, v, full=True, eps=0.1, reduction="sum"), t(0.2, 0.4), t(0.01, 0.5)))


def test_a_comparison_into_a_given_tensor() -> None:
    out = lambda: torch.empty(3, dtype=torch.bool)
    x = t(0.1, 0.6, 0.9)
    assert is_right(check(lambda x: x * x * torch.lt(x, 0.5, out=out()), x))
    assert is_right(check(lambda x: x.sin() * torch.ge(x, 0.7, out=out()), x))


def test_a_value_at_a_clip_by_an_identity() -> None:
    x = t([0.6984716159205614, 1.3983400118651144], [-0.949821227147272, -0.6232306366264744])
    assert is_right(check(torch.corrcoef, x, effort="quick"))
    unit = lambda x: torch.clamp(torch.nn.functional.cosine_similarity(x, x, dim=-1), -1, 1)
    assert is_right(check(unit, x, effort="quick"))
    wrong = rule(torch.corrcoef, lambda g, x: 1e-3 * g)
    assert is_wrong(check(wrong, x, effort="quick"))


def test_functions_of_hips_autograd() -> None:
    anp = pytest.importorskip("autograd.numpy")
    stats = pytest.importorskip("autograd.scipy.stats")
    x = np.array([0.3, -0.4, 1.2, 0.1])
    assert is_right(check(lambda x, m, s: stats.norm.cdf(x, m, s), x, x - 0.1, x**2 + 1, framework="autograd"))
    assert is_right(check(lambda x, m: stats.norm.cdf(x, m), x, x, framework="autograd"))
    assert is_right(check(lambda x: anp.std(x), np.array([3.5, 2.0]), framework="autograd"))
    a = np.array([[1.0, 0.2, 0.3], [0.5, 2.0, -0.4], [0.1, 0.7, 3.0]])
    assert is_right(check(lambda x: anp.linalg.slogdet(x), a, framework="autograd"))


def test_an_unstable_sort_in_jax() -> None:
    jax = pytest.importorskip("jax")
    sort = lambda x: jax.lax.sort(x, is_stable=False)
    assert is_right(check(sort, jax.numpy.asarray(np.array([3.0, 1.0, 4.0, 0.0, 2.0], np.float32))))
    tied = jax.numpy.asarray(np.array([3.0, 1.0, 3.0], np.float32))
    assert not is_wrong(check(sort, tied))
