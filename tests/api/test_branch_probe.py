"""Branches of a backward pass that no value takes are asked all the same, on both sides."""

from __future__ import annotations

from typing import Any

import pytest

from gradverify import FailKind, Outcome, check
from tests.helpers import custom

torch = pytest.importorskip("torch")
F = torch.nn.functional

X = torch.tensor([0.5, 1.5, -0.3, 0.8], dtype=torch.float64, requires_grad=True)


def tanh(back: Any) -> Any:
    return custom(torch.tanh, back)


def slope(x: Any) -> Any:
    return 1 / torch.cosh(x) ** 2


HIDDEN = {
    "a threshold": tanh(lambda g, x: torch.where(x < -3, 0.0, g * slope(x))),
    "a threshold of a product": tanh(lambda g, x: torch.where(x * x > 17, 0.5, 1.0) * g * slope(x)),
    "one value": tanh(lambda g, x: torch.where(x == 1, 0.0, g * slope(x))),
    "a clamp": custom(torch.exp, lambda g, x: g * torch.exp(x.clamp(max=5))),
    "a relu of what never is negative": custom(torch.exp, lambda g, x: g * torch.exp(torch.relu(x + 7) - 7)),
    "a branch in Python": tanh(lambda g, x: 0 * g if x.numel() and x.max() > 88 else g * slope(x)),
    "the smaller of two": custom(torch.exp, lambda g, x: g * torch.minimum(torch.exp(x), 40 + x)),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_what_a_branch_hides_is_found(name: str) -> None:
    verdict = check(HIDDEN[name], X)
    assert verdict.outcome is Outcome.FAIL, verdict.text()
    assert "turns)" in verdict.message, verdict.message


def jax_tanh(back: Any) -> Any:
    jnp = pytest.importorskip("jax").numpy
    fn = pytest.importorskip("jax").custom_vjp(jnp.tanh)
    fn.defvjp(lambda x: (jnp.tanh(x), x), lambda x, g: (back(jnp, g, x),))
    return fn


OF_EACH = {
    "a threshold of a sum": lambda xp, g, x: xp.where(2 * x + 1 < -8, 0 * g, g / xp.cosh(x) ** 2),
    "one value of a difference": lambda xp, g, x: xp.where((x - 3) == 0.25, 0 * g, g / xp.cosh(x) ** 2),
    "a clamp at 30": lambda xp, g, x: g / xp.cosh(xp.clip(x, -30, 30)) ** 2,
}


@pytest.mark.parametrize("name", OF_EACH)
def test_in_jax(name: str) -> None:
    """Of a function of JAX's own with a user's rule."""
    with pytest.importorskip("jax").enable_x64(True):
        verdict = check(jax_tanh(OF_EACH[name]), pytest.importorskip("jax").numpy.array([0.5, 1.5, -0.3, 0.8]))
    assert verdict.outcome is Outcome.FAIL, verdict.text()
    assert "turns)" in verdict.message, verdict.message


@pytest.mark.parametrize("name", OF_EACH)
def test_in_the_engine(name: str) -> None:
    from gradverify import engine

    class Tanh(engine.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return engine.tanh(x)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return OF_EACH[name](engine, g, *ctx.saved_tensors)

    x = engine.tensor([0.5, 1.5, -0.3, 0.8], dtype=engine.float64, requires_grad=True)
    verdict = check(lambda x: Tanh.apply(x), x)
    assert verdict.outcome is Outcome.FAIL, verdict.text()
    assert "turns)" in verdict.message, verdict.message


TILES = {
    "left at 0": lambda g, p: 0 * g,
    "without its factor": lambda g, p: g * p,
    "with the sign of the last row": lambda g, p: 2 * g * p * torch.sign(p[-1:]),
}


@pytest.mark.parametrize("rows", [3, 4, 8])
@pytest.mark.parametrize("name", TILES)
def test_the_last_partial_tile(name: str, rows: int) -> None:
    """The given length is a multiple of all three."""

    def back(g: Any, x: Any) -> Any:
        tiles = [(a, b) for a, b in zip(g.split(rows), x.split(rows))]
        return torch.cat([TILES[name](a, b) if len(b) < rows else 2 * a * b for a, b in tiles])

    x = torch.linspace(-1, 1, 48, dtype=torch.float64).reshape(24, 2).requires_grad_()
    verdict = check(custom(lambda x: x * x, back), x)
    assert verdict.outcome is Outcome.FAIL, verdict.text()


def test_the_message_names_the_point_and_the_branch() -> None:
    assert "args[0] < -3.0 at " in check(HIDDEN["a threshold"], X).message


RIGHT = {
    "leaky": custom(lambda x: F.leaky_relu(x, 0.1), lambda g, x: torch.where(x > 0, g, 0.1 * g)),
    "a Huber loss": custom(
        lambda x: torch.where(x.abs() < 4, x * x / 2, 4 * (x.abs() - 2)), lambda g, x: g * x.clamp(-4, 4)
    ),
    "a clamp and its mask": custom(lambda x: x.clamp(-9, 9), lambda g, x: g * ((x >= -9) & (x <= 9))),
    "softplus in two pieces": custom(
        lambda x: F.softplus(x, threshold=1e9),
        lambda g, x: g * torch.where(x > 0, 1 / (1 + (-x).exp()), x.exp() / (1 + x.exp())),
    ),
    "a branch in Python for the empty": tanh(lambda g, x: g * slope(x) if x.numel() else g),
    "a maximum against itself": custom(lambda x: x * x, lambda g, x: g * 2 * torch.maximum(x, x - 30)),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_one_passes_on_all_of_its_branches(name: str) -> None:
    verdict = check(RIGHT[name], X)
    assert verdict.outcome is Outcome.PASS, verdict.text()


UNREACHABLE = {
    "a square that is negative": lambda g, x: torch.where(x * x < -1, 0.0, g * slope(x)),
    "a tanh beyond 1": lambda g, x: torch.where(torch.tanh(x) > 1.5, 0.0, g * slope(x)),
    "a softplus below 0": lambda g, x: torch.where(F.softplus(x) < 0, 0.0, g * slope(x)),
    "a test for NaN": lambda g, x: torch.where(x != x, 0.0, g * slope(x)),
    "a test for NaN that is computed twice": lambda g, x: torch.where(torch.exp(x) != torch.exp(x), 0.0, g * slope(x)),
    "a number that is less than itself": lambda g, x: torch.where(torch.sin(x) < torch.sin(x), 0.0, g * slope(x)),
    "a clamp of what lies inside": lambda g, x: g * slope(x) * (1 + torch.sin(x).clamp(-2, 2) - torch.sin(x)),
}


@pytest.mark.parametrize("name", UNREACHABLE)
def test_what_cannot_be_taken_is_said(name: str) -> None:
    verdict = check(tanh(UNREACHABLE[name]), X)
    assert verdict.outcome is Outcome.PASS, verdict.text()
    coverage = verdict.coverage
    assert coverage is not None
    assert coverage.unreachable
    assert not coverage.open
    assert coverage.taken == coverage.branches - (2 if "clamp" in name else 1)
    assert "; unreachable: " in " ".join(verdict.text().split())


def test_what_was_taken_is_counted() -> None:
    verdict = check(RIGHT["a Huber loss"], X)
    assert verdict.coverage is not None
    assert verdict.coverage.taken == verdict.coverage.branches > 1
    assert "taken on both sides" in " ".join(verdict.text().split())


def test_what_was_not_taken_is_named_with_its_line() -> None:
    """Intervals allow it, as each part reaches 1, and no x reaches both."""

    def back(g: Any, x: Any) -> Any:
        far = torch.sin(x) - torch.sin(x) ** 2 > 0.9
        return torch.where(far, 0.0, g * slope(x))

    coverage = check(tanh(back), X).coverage
    assert coverage is not None
    [text] = coverage.open
    line = back.__code__.co_firstlineno + 1
    assert text.endswith(f"> 0.9 at tests/api/test_branch_probe.py:{line}")


def test_quick_does_not_count() -> None:
    assert check(RIGHT["leaky"], X, effort="quick").coverage is None


def test_quick_stays_at_the_given_point() -> None:
    assert check(HIDDEN["a threshold"], X, effort="quick").outcome is Outcome.PASS


def test_in_bfloat16() -> None:
    verdict = check(HIDDEN["a threshold"], X.detach().bfloat16().requires_grad_())
    assert verdict.kind is FailKind.WRONG, verdict.text()


def sine(change: Any) -> Any:
    return custom(torch.sin, lambda g, x: change(g) * x.cos())


OF_COTANGENTS = {
    "clipped to 10": lambda g: g.clamp(-10, 10),
    "tiny ones dropped": lambda g: torch.where(g.abs() < 1e-6, 0.0, g),
    "one size doubled": lambda g: torch.where((g > 3) & (g < 5), 2 * g, g),
    "a norm that is clipped": lambda g: g * torch.clamp(100 / g.norm(), max=1.0),
    "a branch in Python": lambda g: torch.sign(g) if g.numel() and g.max() > 20 else g,
}


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
@pytest.mark.parametrize("name", OF_COTANGENTS)
def test_what_hides_behind_a_cotangent_is_found(name: str, dtype: str) -> None:
    """In float16 no law can ask with a cotangent of 2^20: its own threshold says where."""
    x = X.detach().to(getattr(torch, dtype)).requires_grad_()
    verdict = check(sine(OF_COTANGENTS[name]), x)
    assert verdict.kind is FailKind.WRONG or verdict.kind is FailKind.LAW, verdict.text()


def test_a_cotangent_is_named_with_the_branch() -> None:
    verdict = check(sine(OF_COTANGENTS["clipped to 10"]), X.detach().half().requires_grad_())
    assert "found with g[" in verdict.message
    assert "< -10.0 at " in verdict.message or "< 10.0 at " in verdict.message


OF_COTANGENTS_RIGHT = {
    "half of it by its sign": lambda g: torch.where(g > 0, 0.5 * g, 0.5 * g) + 0.5 * g,
    "one way for large ones": lambda g: torch.where(g.abs() > 3, 2 * (g / 2), g),
}


@pytest.mark.parametrize("dtype", ["float64", "float16"])
@pytest.mark.parametrize("name", OF_COTANGENTS_RIGHT)
def test_a_right_one_is_asked_with_both_cotangents(name: str, dtype: str) -> None:
    verdict = check(sine(OF_COTANGENTS_RIGHT[name]), X.detach().to(getattr(torch, dtype)).requires_grad_())
    assert verdict.outcome is Outcome.PASS, verdict.text()
    assert verdict.coverage is not None
    assert verdict.coverage.taken == verdict.coverage.branches > 0


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_zero_times_an_infinite_slope_is_a_convention(dtype: str) -> None:
    """At the root of 0 the given point is undecided; a cotangent of 0 there makes it no failure."""
    x = torch.tensor([0.0, 2.0], dtype=getattr(torch, dtype), requires_grad=True)
    assert check(torch.sqrt, x).outcome is Outcome.INCONCLUSIVE
    assert check(custom(torch.sqrt, lambda g, x: g / (2 * x.sqrt())), x).outcome is Outcome.INCONCLUSIVE


def test_zero_times_infinity_is_a_failure_where_there_is_a_slope() -> None:
    verdict = check(sine(lambda g: g * g / g), X)
    assert verdict.outcome is Outcome.FAIL, verdict.text()
