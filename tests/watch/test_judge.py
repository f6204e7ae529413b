"""Judging what was recorded: the order of the steps, and what a rule may be meant for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gradverify import FailKind, Outcome
from gradverify.watch.judge import judge
from gradverify.watch.look import look
from gradverify.watch.order import suspicion
from gradverify.watch.structure import keep_structure

from . import functions as F
from .helpers import drawn, judged, sample_of


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_right_one_passes_with_its_power(dtype: torch.dtype) -> None:
    found = judged(F.Sin, drawn(3, 2, dtype=dtype))
    assert found.verdict.outcome is Outcome.PASS
    assert found.verdict.power < 1e-9
    assert not found.looks


def test_a_wrong_one_fails_at_the_recorded_point() -> None:
    found = judged(F.SlightlyWrongExp, drawn(4))
    assert found.verdict.kind is FailKind.WRONG
    assert found.verdict.comparisons[-1].of == "dx"  # forward's own name
    assert found.intent is None


@pytest.mark.parametrize(
    ("function", "args", "kind"),
    [
        (F.Spike, (3.0,), "surrogate"),
        (F.Round, (), "surrogate"),
        (F.Reverse, (0.25,), "identity"),
    ],
)
def test_what_is_meant_beyond_doubt_is_a_surrogate(function: Any, args: tuple[Any, ...], kind: str) -> None:
    found = judged(function, drawn(4, 3), *args)
    assert found.verdict.outcome is Outcome.SURROGATE
    assert found.intent is not None
    assert found.intent.kind == kind


@pytest.mark.parametrize(
    ("function", "args", "kind"),
    [
        (F.Clamp, (drawn(6, 2),), "partial"),
        (F.Doubled, (drawn(3),), "factor"),
        (F.ClipGradient, (drawn(5),), "nonlinear"),
        (F.SymmetricSquare, (drawn(3, 3),), "symmetric"),
        (F.Inject, (drawn(3), torch.ones(3)), "injected"),
        (F.Estimated, (drawn(5),), "drawn"),
    ],
)
def test_what_may_be_meant_fails_until_it_is_pinned(function: Any, args: tuple[Any, ...], kind: str) -> None:
    found = judged(function, *args)
    assert found.verdict.outcome is Outcome.FAIL
    assert found.intent is not None
    assert found.intent.kind == kind


def _spd(n: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    a = drawn(n, n, dtype=torch.float64).detach()
    return (a @ a.T + torch.eye(n, dtype=torch.float64)).to(dtype).requires_grad_()


NATURALS = (
    (
        F.NaturalGaussian,
        lambda: (drawn(3, dtype=torch.float64), drawn(3, dtype=torch.float64).detach().abs().neg() - 1),
    ),
    (F.Preconditioned, lambda: (drawn(2, 5), drawn(5, 5, seed=1).detach())),
    (F.NaturalCholesky, lambda: (_spd(4),)),
    (F.NaturalCholesky, lambda: (_spd(16),)),  # whose product is symmetric up to rounding alone
    (F.NaturalCholesky, lambda: (_spd(3, torch.float32),)),
    (F.NaturalCholesky, lambda: (_spd(5).detach() + 1e4 * torch.diag(torch.arange(5.0, dtype=torch.float64)),)),
)


def _sum_of_squares(out: Any) -> torch.Tensor:
    outs = out if isinstance(out, tuple) else (out,)
    return sum(((o - 0.3) ** 2).sum() for o in outs)  # type: ignore[return-value]


@pytest.mark.parametrize(("function", "args"), NATURALS)
def test_a_natural_gradient_is_recognised(function: Any, args: Any) -> None:
    found = judged(
        function, *(x.requires_grad_(k == 0 or x.ndim == 1) for k, x in enumerate(args())), loss=_sum_of_squares
    )
    assert found.verdict.outcome is Outcome.FAIL
    assert found.intent is not None
    assert found.intent.kind == "preconditioned"


@pytest.mark.parametrize(
    ("function", "args"),
    [
        (F.WrongNaturalGaussian, NATURALS[0][1]),
        (F.ForgetfulNorm, lambda: (drawn(2, 5),)),
        (F.HalfWrongProduct, lambda: (drawn(2, 3), drawn(3, 4, seed=1))),
        (F.SlightlyWrongExp, lambda: (drawn(4),)),
    ],
)
def test_a_wrong_one_is_no_natural_gradient(function: Any, args: Any) -> None:
    found = judged(function, *(x.requires_grad_() for x in args()), loss=_sum_of_squares)
    assert found.verdict.outcome is Outcome.FAIL
    assert found.intent is None


def test_a_surrogate_for_one_of_several_arguments_can_be_pinned() -> None:
    found = judged(F.Quantise, drawn(6), torch.tensor(0.4, requires_grad=True))
    assert found.verdict.outcome is Outcome.FAIL
    assert found.intent is not None
    assert found.intent.kind == "surrogate"
    assert "by x is zero" in found.intent.text


@pytest.mark.parametrize("seed", range(3))
def test_a_bisection_by_masks_misses_by_its_own_steps(seed: int) -> None:
    y = drawn(20, dtype=torch.float64, seed=seed).detach().abs().requires_grad_()
    found = judge(sample_of(lambda: F.Bisected.apply(y).sum().backward()), limit=60.0)
    assert found.verdict.outcome is not Outcome.FAIL
    wrong = judge(sample_of(lambda: F.WrongBisected.apply(y).sum().backward()), limit=60.0)
    assert wrong.verdict.outcome is Outcome.FAIL


def test_the_factor_is_named() -> None:
    assert judged(F.Doubled, drawn(3)).intent.factor == pytest.approx(2.0)  # type: ignore[union-attr]
    assert judged(F.Reverse, drawn(3), 0.25).intent.factor == pytest.approx(-0.25)  # type: ignore[union-attr]


def test_an_iteration_is_held_against_differences_of_itself() -> None:
    y = torch.rand(3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).add(1).requires_grad_()
    found = judge(sample_of(lambda: F.Root.apply(y).sum().backward()), limit=60.0)
    assert found.verdict.outcome is Outcome.PASS
    assert found.verdict.power < 1e-6


def test_an_iteration_with_a_wrong_rule_fails() -> None:
    class Wrong(F.Root):
        @staticmethod
        def backward(ctx: Any, g: torch.Tensor) -> Any:
            return 1.02 * F.Root.backward(ctx, g)

    y = torch.rand(3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).add(1).requires_grad_()
    sample = sample_of(lambda: Wrong.apply(y).sum().backward())
    assert judge(sample, limit=60.0).verdict.outcome is Outcome.FAIL


@pytest.mark.parametrize(("factor", "outcome"), [(1.0, Outcome.PASS), (1.02, Outcome.FAIL)])
def test_a_graph_that_takes_too_long_leaves_differences(factor: float, outcome: Outcome) -> None:
    class Scaled(F.Root):
        @staticmethod
        def backward(ctx: Any, g: torch.Tensor) -> Any:
            return factor * F.Root.backward(ctx, g)

    y = torch.tensor([1.5, 1.25], dtype=torch.float64, requires_grad=True)
    found = judge(sample_of(lambda: Scaled.apply(y).sum().backward()), limit=0.05)
    assert found.verdict.outcome in (outcome, Outcome.INCONCLUSIVE)  # a busy machine has no time for differences either
    assert any("takes more than" in text for text in (*found.verdict.notes, found.verdict.message))


def test_right_for_the_cotangent_that_arrived_alone() -> None:
    found = judged(F.Gauge, drawn(4), loss=lambda out: out.sum())
    assert found.verdict.outcome is Outcome.PASS
    assert any("wrong for others" in text for text in found.looks)


def test_the_second_order_gates_where_the_suite_used_it() -> None:
    x = drawn(3)

    def twice() -> None:
        (g,) = torch.autograd.grad(F.Second.apply(x).square().sum(), x, create_graph=True)
        assert g.grad_fn is not None

    assert judge(sample_of(twice)).verdict.outcome is Outcome.FAIL
    once = judged(F.Second, x)
    assert once.verdict.outcome is Outcome.PASS
    assert look(once).looks  # beyond what was recorded it is said, and gates nothing


@pytest.mark.parametrize("how", ["module", "closure", "bound method"])
def test_parameters_that_are_reached_by_two_ways(how: str) -> None:
    layer = torch.nn.Linear(4, 3)
    torch.nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(1))
    run: Any = {"module": layer, "closure": lambda x: layer(x).tanh(), "bound method": layer.forward}[how]
    for function, outcome in ((F.Checkpoint, Outcome.PASS), (F.ForgetfulCheckpoint, Outcome.FAIL)):
        sample = sample_of(
            lambda f=function: f.apply(run, 1, drawn(2, 4), *layer.parameters()).square().sum().backward()
        )
        assert sample.by_identity
        assert judge(sample).verdict.outcome is outcome


@pytest.mark.parametrize(
    ("function", "outcome"),
    [(F.Checkpoint, Outcome.PASS), (F.CheckpointOfAnotherInput, Outcome.FAIL), (F.ForgetfulCheckpoint, Outcome.FAIL)],
)
@pytest.mark.parametrize("before", ["a slope", "a judgement", "a run at other values", "probes"])
def test_a_record_of_shared_parameters_stays_as_it_is(function: Any, outcome: Outcome, before: str) -> None:
    layer = torch.nn.Linear(4, 3)
    torch.nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(1))
    sample = sample_of(lambda: function.apply(layer, 1, drawn(2, 4), *layer.parameters()).square().sum().backward())
    kept = [a.clone() for a in sample.args]
    match before:
        case "a slope":
            suspicion(sample)
        case "a judgement":
            judge(sample)
        case "probes":
            look(judge(sample))
        case _:
            sample.function(*(a + 1 for a in sample.args)).sum()
    for a, b in zip(sample.args, kept):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
        assert not a.requires_grad
    torch.testing.assert_close(dict(sample.whole)["tensors[1]"], kept[1], rtol=0, atol=0)
    assert judge(sample).verdict.outcome is outcome


@pytest.mark.parametrize(("function", "outcome"), [(F.Insisting, Outcome.PASS), (F.InsistingTwice, Outcome.FAIL)])
@pytest.mark.parametrize("parameters", [True, False])
def test_a_backward_that_insists_on_its_caller(function: Any, outcome: Outcome, parameters: bool) -> None:
    layer = torch.nn.Linear(3, 2).double().requires_grad_(parameters)
    given = [*layer.parameters()] if parameters else []
    x = drawn(2, 3, dtype=torch.float64) * 1
    sample = sample_of(lambda: function.apply(layer, 1, x, *given).square().sum().backward())
    assert sample.by_identity is parameters
    assert judge(sample, limit=60.0).verdict.outcome is outcome


class Slightly(F.Insisting):
    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        first, second, x, *rest = F.Insisting.backward(ctx, g)
        return first, second, x + 1e-6, *rest


class Hidden(torch.nn.Module):
    """The module, whose values leave PyTorch's sight where no gradient is asked for: it has no graph."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.inner(x)
        return out if torch.is_grad_enabled() else torch.tensor(out.numpy())


@pytest.mark.parametrize("parameters", [True, False])
@pytest.mark.parametrize("layers", [2, 3])
def test_what_differences_in_float32_leave_open_is_asked_in_float64(parameters: bool, layers: int) -> None:
    inner = [torch.nn.Linear(8, 8), torch.nn.BatchNorm1d(8), torch.nn.Tanh()] * layers
    net = Hidden(torch.nn.Sequential(*inner))
    for k, p in enumerate(net.parameters()):
        torch.nn.init.normal_(p, generator=torch.Generator().manual_seed(k))
    net.requires_grad_(parameters)
    given = [*net.parameters()] if parameters else []
    for function in (F.Insisting, Slightly):
        sample = sample_of(
            lambda f=function: (
                f.apply(net if layers == 2 else net.forward, 1, drawn(4, 8) * 1, *given)
                .add(1000)
                .square()
                .mean()
                .backward()
            )
        )
        found = judge(sample, limit=60.0)
        right = function is F.Insisting
        assert (found.verdict.outcome is Outcome.PASS) is right, found.verdict
        if right:
            assert any("in float64" in n for n in found.verdict.notes), found.verdict.power
        elif found.verdict.outcome is not Outcome.FAIL:
            assert any("in float64" in text for text in found.looks)
    assert {p.dtype for p in net.parameters()} == {torch.float32}


def test_a_sample_outlives_what_it_was_made_of() -> None:
    layer = torch.nn.Linear(4, 3)
    sample = sample_of(lambda: F.Checkpoint.apply(layer, 1, drawn(2, 4), *layer.parameters()).sum().backward())
    with torch.no_grad():
        layer.weight.fill_(torch.nan)
    assert judge(sample).verdict.outcome is Outcome.PASS


def test_in_place() -> None:
    assert judged(F.InPlace, drawn(3) * 1).verdict.outcome is Outcome.PASS


def test_without_a_backward_pass_the_cotangent_is_drawn() -> None:
    found = judge(sample_of(lambda: F.Sin.apply(drawn(3))))
    assert found.verdict.outcome is Outcome.PASS
    assert any("never ran" in note for note in found.notes)


def test_under_autocast() -> None:
    class Half(F.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x, w)
            return x @ w

        @staticmethod
        def backward(ctx: Any, g: torch.Tensor) -> Any:
            x, w = ctx.saved_tensors
            return (g @ w.T.to(g.dtype)).to(x.dtype), (x.T.to(g.dtype) @ g).to(w.dtype)

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            Half.apply(drawn(3, 4), drawn(4, 2, seed=1)).sum().backward()

    sample = sample_of(run)
    assert sample.modes == ("autocast(cpu, torch.bfloat16)",)
    assert judge(sample).verdict.outcome is Outcome.PASS


def same(x: np.ndarray) -> bool:
    """Does a structure have to be kept: is another array with its shape not left as it is?"""
    y = np.random.default_rng(0).standard_normal(x.shape)
    return not np.array_equal(keep_structure(x, y), y)


@pytest.mark.parametrize(
    ("x", "has"),
    [
        (np.eye(3), True),
        (np.arange(5.0), True),
        (np.full((2, 4), 0.25), True),
        (np.tril(np.ones((3, 3))), True),
        (np.array([[1.0, 2.0], [3.0, 4.0]]), False),
        (np.array([3.0, 1.0, 2.0, 5.0]), False),
        (np.ones((3, 3)), False),
        (np.zeros(()), False),
        (np.zeros((0, 4)), False),
        (np.full(4, np.nan), False),
    ],
)
def test_structure(x: np.ndarray, has: bool) -> None:
    assert same(x) is has


def test_structure_is_kept() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((4, 4))
    other = rng.standard_normal((4, 4))
    definite = keep_structure(a @ a.T + np.eye(4), other)
    np.testing.assert_array_equal(definite, definite.T)
    assert np.linalg.eigvalsh(definite).min() > 0
    np.testing.assert_array_equal(keep_structure(np.triu(a), other), np.triu(other))
    down = keep_structure(np.array([9.0, 5.0, 5.0, 1.0]), other[0])
    assert (np.diff(down) <= 0).all()
    p = keep_structure(np.full((2, 4), 0.25, np.float32), other[:2].astype(np.float32))
    np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-6)
    assert p.min() >= 0


class TestOtherArrays:
    """Probes beside arrays that are not differentiated: data stays as it is, and what was made of x is no data."""

    @staticmethod
    def looked(function: Any, *args: Any) -> Any:
        found = judged(function, *args)
        assert found.verdict.outcome is Outcome.PASS
        return look(found, limit=60.0)

    def test_a_branch_that_a_target_hides(self) -> None:
        found = self.looked(F.ForgetfulHuber, (drawn(5) / 4).detach().requires_grad_(), drawn(5, seed=1).detach() / 4)
        assert found.looks
        assert found.probed

    def test_a_right_one(self) -> None:
        found = self.looked(F.Huber, (drawn(5) / 4).detach().requires_grad_(), drawn(5, seed=1).detach() / 4)
        assert not found.looks
        assert found.probed

    def test_a_mask(self) -> None:
        mask = torch.tensor([True, False, True, True])
        assert self.looked(F.Masked, drawn(4), mask).probed

    @pytest.mark.parametrize("made", [lambda x: x.softmax(-1), lambda x: x.argmax(-1), lambda x: x.amax(-1)])
    def test_what_was_made_of_x_belongs_to_it(self, made: Any) -> None:
        x = drawn(3, 4, seed=2)
        found = self.looked(F.SavedOfX, x, made(x.detach()))
        assert not found.looks, found.looks
        assert not found.probed
        assert any("not asked at other points" in note for note in found.notes)


class TailLeftOut(F.Sin):
    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        return F.Sin.backward(ctx, g) * (torch.arange(len(g)) < len(g) - 1)


@pytest.mark.parametrize(("function", "outcome"), [(F.Sin, Outcome.PASS), (TailLeftOut, Outcome.FAIL)])
def test_many_cotangents_of_one_call(function: Any, outcome: Outcome) -> None:
    x = drawn(7)

    def one_by_one() -> None:  # as gradcheck does
        out = function.apply(x)
        for k in range(7):
            torch.autograd.grad(out[k], x, retain_graph=True)

    sample = sample_of(one_by_one)
    assert sample.pulled == 7
    assert len(sample.cotangents) == 3
    assert np.count_nonzero(sample.cotangents[2][0]) == 5
    assert judge(sample).verdict.outcome is outcome


@pytest.mark.parametrize(("function", "outcome"), [(F.LogDet, Outcome.PASS), (F.WrongLogDet, Outcome.FAIL)])
def test_a_function_of_one_triangle(function: Any, outcome: Outcome) -> None:
    a = drawn(3, 3, dtype=torch.float64).detach()
    found = judged(function, (a @ a.T + torch.eye(3)).requires_grad_(), loss=lambda out: out)
    assert found.verdict.outcome is outcome


@pytest.mark.parametrize(("factor", "kind"), [(1.0, "symmetric"), (1.01, None)])
def test_a_function_of_both_triangles_that_is_meant_for_symmetric_matrices(factor: float, kind: str | None) -> None:
    """A quadratic form of M² by its two triangles, out of the tracer's sight, with the gradient's symmetric part."""

    class Form(F.Function):
        @staticmethod
        def forward(ctx: Any, m: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(m, v)
            a, x = m.detach().numpy(), v.detach().numpy()
            return torch.from_numpy(np.array(x @ a @ a @ np.arange(1.0, len(x) + 1)))

        @staticmethod
        def backward(ctx: Any, g: torch.Tensor) -> Any:
            m, v = ctx.saved_tensors
            w = torch.arange(1.0, len(v) + 1, dtype=m.dtype)
            d = torch.outer(v, m @ w) + torch.outer(m.T @ v, w)
            return factor * g * (d + d.T) / 2, None

    a = drawn(3, 3, dtype=torch.float64).detach()
    found = judged(
        Form, (a + a.T).requires_grad_(), drawn(3, dtype=torch.float64, seed=1).detach(), loss=lambda out: out
    )
    assert found.verdict.outcome is Outcome.FAIL
    assert (found.intent.kind if found.intent else None) == kind


def test_a_matrix_that_is_symmetric_by_chance() -> None:
    class Transposed(F.Function):
        @staticmethod
        def forward(ctx: Any, m: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(w)
            return (m * w).sum()

        @staticmethod
        def backward(ctx: Any, g: torch.Tensor) -> Any:
            return g * ctx.saved_tensors[0].T, None

    found = judged(Transposed, torch.eye(3, requires_grad=True), drawn(3, 3).detach())
    assert found.verdict.outcome is Outcome.FAIL


def test_another_cotangent_of_the_same_call() -> None:
    x = drawn(4)

    def twice() -> None:
        out = F.ClipGradient.apply(x)
        torch.autograd.grad(out, x, torch.full_like(out, 0.01), retain_graph=True)
        torch.autograd.grad(out, x, torch.full_like(out, 2.0))

    assert judge(sample_of(twice)).verdict.outcome is Outcome.FAIL


@pytest.mark.parametrize(
    ("function", "dtype", "outcome"),
    [
        (F.Drawing, torch.float32, Outcome.SURROGATE),
        (F.FloorOutside, torch.float32, Outcome.SURROGATE),
        (F.FloorOutside, torch.float64, Outcome.INCONCLUSIVE),  # nobody can tell it from what rounding hides
        (F.CoarseOutside, torch.float32, Outcome.INCONCLUSIVE),  # x itself, in float64
    ],
)
def test_steps_of_a_function_without_a_graph(function: Any, dtype: torch.dtype, outcome: Outcome) -> None:
    sample = sample_of(lambda: function.apply(drawn(6, dtype=dtype)).sum().backward())
    found = judge(sample, limit=60.0)
    assert found.verdict.outcome is outcome, found.verdict.message
    assert (found.intent is not None) == (outcome is Outcome.SURROGATE)


@pytest.mark.parametrize(
    ("function", "outcome"),
    [
        (F.Freeing, Outcome.PASS),
        (F.FreeingOneOfTwo, Outcome.FAIL),
        (F.Reusing, Outcome.INCONCLUSIVE),  # the output is still the user's, and is NaN now
    ],
)
def test_outputs_that_the_backward_pass_frees_are_read_before_it(function: Any, outcome: Outcome) -> None:
    """A reversible layer frees its outputs there: what is read behind it is another's memory, or none."""
    x = drawn(6)
    sample = sample_of(lambda: sum(o.sum() for o in _several(function.apply(x))).backward())
    found = judge(sample, limit=60.0)
    assert found.verdict.outcome is outcome, found.verdict.message


def _several(out: Any) -> tuple[torch.Tensor, ...]:
    return out if isinstance(out, tuple) else (out,)


def test_digits_that_the_first_cotangent_has_no_need_of() -> None:
    """gradcheck asks with unit vectors first: another cotangent of the same call has more digits."""
    x = drawn(5, dtype=torch.float64)

    def run() -> None:
        out = F.ThroughBfloat16.apply(x)
        out[0].backward(retain_graph=True)
        (out * x.detach()).sum().backward()

    found = judge(sample_of(run), limit=60.0)
    assert found.verdict.kind is FailKind.PRECISION, found.verdict.message
