"""The wrong step of a backward pass is named, with its line and its repair; where no single step is wrong, nothing is."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest

from gradverify import FailKind, Outcome
from tests.helpers import custom, judge

torch = pytest.importorskip("torch")
F = torch.nn.functional


def line_of(fn: Any, text: str) -> int:
    source, first = inspect.getsourcelines(fn)
    return first + next(k for k, line in enumerate(source) if text in line)


def found(run: Callable[..., Any], back: Callable[..., Any], *args: Any) -> dict[str, Any]:
    fn = custom(run, back)
    verdict = judge((lambda x: fn(x)) if len(args) == 1 else (lambda x, w: fn(x, w)), *args)
    assert verdict.kind is FailKind.WRONG, verdict.text()
    assert "departure" in verdict.facts, verdict.text()
    assert "The first wrong step of the backward pass is" in verdict.message
    return dict(verdict.facts["departure"])


def at(dtype: str = "float32") -> Any:
    return torch.tensor([0.3, -0.7, 1.1, 1.9], dtype=getattr(torch, dtype), requires_grad=True)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_a_wrong_literal(dtype: str) -> None:
    def back(g: Any, x: Any) -> Any:
        s = torch.sigmoid(x)
        slope = s * (1 - s) * 0.5
        return g * slope

    departure = found(torch.sigmoid, back, at(dtype))
    assert departure["repair"] == "with 1 for 0.5"
    assert departure["site"] == (__file__, line_of(back, "0.5"))


def test_a_wrong_sign() -> None:
    def back(g: Any, x: Any) -> Any:
        s = torch.sigmoid(x)
        t = s + x * s * (1 + s)
        return g * t

    departure = found(F.silu, back, at())
    assert departure["repair"] == "with 1.0 - sigmoid(x) in its place"
    assert departure["site"] == (__file__, line_of(back, "1 + s"))


def test_a_square_that_is_missing() -> None:
    def back(g: Any, x: Any) -> Any:
        y = torch.tanh(x)
        return g * (1 - y)

    departure = found(torch.tanh, back, at())
    assert departure["repair"] == "with the square of tanh(x) for tanh(x)"


def test_another_variable() -> None:
    """LayerNorm's weight: x for its normalised value."""

    def run(x: Any, w: Any) -> Any:
        return (x - x.mean()) * torch.rsqrt(x.var(correction=0) + 1e-5) * w

    def back(g: Any, x: Any, w: Any) -> Any:
        r = torch.rsqrt(x.var(correction=0) + 1e-5)
        h = (x - x.mean()) * r
        gw = g * w
        dw = g * x
        return r * (gw - gw.mean() - h * (gw * h).mean()), dw

    w = torch.tensor([1.0, 0.5, 2.0, 1.5], requires_grad=True)
    departure = found(run, back, at(), w)
    assert departure["site"] == (__file__, line_of(back, "dw = g * x"))
    assert departure["repair"].endswith(" for x")


def test_a_mean_for_a_sum() -> None:
    def back(g: Any, x: Any) -> Any:
        p = torch.softmax(x, -1)
        inner = (g * p).mean(-1, keepdim=True)
        return p * (g - inner)

    departure = found(lambda x: torch.softmax(x, -1), back, at())
    assert departure["site"] == (__file__, line_of(back, "inner ="))
    assert departure["repair"] == "with 4 times its value"


def test_a_term_that_is_missing() -> None:
    """The cotangent of a node of the definition is not what stands in its place."""

    def run(x: Any) -> Any:
        y = torch.exp(x)
        return y * torch.sin(y)

    def back(g: Any, x: Any) -> Any:
        y = torch.exp(x)
        dy = g * y * torch.cos(y)
        return dy * y

    departure = found(run, back, at())
    assert departure["site"] == (__file__, line_of(back, "dy ="))
    assert "the cotangent of exp(x)" in departure["repair"]


def test_a_mask_on_the_wrong_side() -> None:
    def back(g: Any, x: Any) -> Any:
        mask = x < 0
        return torch.where(mask, g, 0.1 * g)

    departure = found(lambda x: F.leaky_relu(x, 0.1), back, at())
    assert departure["site"][1] in (line_of(back, "mask ="), line_of(back, "where"))


def test_a_matrix_that_is_not_transposed() -> None:
    def back(g: Any, x: Any, w: Any) -> Any:
        dx = g @ w
        return dx, x.T @ g

    x, w = (torch.randn(3, 3, generator=torch.Generator().manual_seed(k)).requires_grad_() for k in (0, 1))
    departure = found(torch.matmul, back, x, w)
    assert departure["repair"] == "with w transposed"
    assert departure["site"] == (__file__, line_of(back, "dx ="))


def test_the_line_is_that_of_the_wrong_step_and_not_of_what_hands_it_on() -> None:
    def back(g: Any, x: Any) -> Any:
        c = torch.cos(x) * 2
        d = g * c
        e = d * torch.exp(torch.sin(x))
        return e + 0 * x

    departure = found(lambda x: torch.exp(torch.sin(x)), back, at())
    assert departure["site"] == (__file__, line_of(back, "c ="))


def test_silent_where_two_steps_are_wrong() -> None:
    def run(x: Any, y: Any) -> Any:
        return torch.sin(x) * torch.cos(y)

    def back(g: Any, x: Any, y: Any) -> Any:
        return g * torch.cos(x) * torch.cos(y * 1.1), -g * torch.sin(x) * torch.sin(y) * torch.exp(y)

    verdict = judge(custom(run, back), at(), torch.tensor([0.2, 0.5, 0.9, -0.4], requires_grad=True))
    assert verdict.kind is FailKind.WRONG
    assert "departure" not in verdict.facts


def test_silent_where_the_formula_is_right() -> None:
    """Digits are lost, and no step is wrong."""
    x = torch.full((3,), 7.0, requires_grad=True)
    verdict = judge(custom(torch.tanh, lambda g, x: g * (1 - torch.tanh(x) ** 2)), x)
    assert verdict.outcome is Outcome.FAIL
    assert "departure" not in verdict.facts


def test_silent_where_the_formula_cannot_be_traced() -> None:
    back = lambda g, x: g * torch.from_numpy(2 * x.detach().numpy())
    verdict = judge(custom(torch.exp, back), at())
    assert verdict.outcome is Outcome.FAIL
    assert "departure" not in verdict.facts


def test_numpy_by_hand() -> None:
    import numpy as np

    vjp = lambda g, x: g * np.cos(x) * 3
    verdict = judge(np.sin, np.linspace(-1, 1, 6), vjp=vjp)
    assert verdict.facts["departure"]["repair"] == "with 1 for 3"


def test_a_number_in_all_turns_of_a_loop() -> None:
    """A backward pass of some 600 nodes is too large to try each of them."""

    def run(x: Any) -> Any:
        h, rows = torch.zeros_like(x[0]), []
        for row in x:
            h = torch.tanh(0.5 * h + row)
            rows.append(h)
        return torch.stack(rows)

    def back(g: Any, x: Any) -> Any:
        h, d, found = run(x), torch.zeros_like(x[0]), []
        for k in range(len(x) - 1, -1, -1):
            d = (g[k] + d) * (1 - h[k] * h[k])
            found.append(d)
            d = 0.4999 * d
        return torch.stack(found[::-1])

    x = torch.linspace(-1, 1, 120, dtype=torch.float64).reshape(40, 3).requires_grad_()
    departure = found(run, back, x)
    assert departure["repair"] == "with 1/2 for 0.4999"
    assert departure["site"] == (__file__, line_of(back, "0.4999"))


def test_a_number_and_a_multiple_of_it() -> None:
    def back(g: Any, x: Any) -> Any:
        c = 0.0447
        return g * (1 + 3 * c * x * x) * torch.cos(x + c * x**3)

    departure = found(lambda x: torch.sin(x + 0.044715 * x**3), back, at("float64"))
    assert departure["repair"] in ("with 0.044715 for 0.0447", "with 0.134145 for 0.1341")


def test_a_value_of_the_definition() -> None:
    """eps beside the root, not under it: the reciprocal root is another number."""

    def back(g: Any, x: Any) -> Any:
        r = 1 / (x.square().mean(-1, keepdim=True).sqrt() + 1e-2)
        h = x * r
        return r * (g - h * (g * h).mean(-1, keepdim=True))

    rows = torch.tensor([[0.3, -0.7], [1.1, 1.9], [-0.4, 0.9]], dtype=torch.float64, requires_grad=True)
    departure = found(lambda x: x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-2), back, rows)
    assert "the definition's rsqrt(" in departure["repair"] or "with the value of rsqrt(" in departure["repair"]
    assert departure["site"] == (__file__, line_of(back, "r = 1"))


def test_nothing_is_said_where_the_gradient_itself_is_replaced() -> None:
    """The true gradient is right in the place of any other: that names no step."""

    def back(g: Any, x: Any) -> Any:
        return (g * (torch.atan(3 * x) + 0.1 * x**5 - torch.exp(-x))).clone()

    fn = custom(torch.sin, back)
    verdict = judge(lambda x: fn(x), at("float64"))
    assert verdict.kind is FailKind.WRONG
    assert "departure" not in verdict.facts, verdict.message


class TestWrittenTo:
    """What the forward pass keeps for the backward pass, and writes to afterwards."""

    @staticmethod
    def kept(run: Callable[..., Any], back: Callable[..., Any]) -> Callable[..., Any]:
        """run(x) -> (output, what is kept); back(g, kept)."""

        class Kept(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, x: Any) -> Any:
                out, ctx.kept = run(x)
                return out

            @staticmethod
            def backward(ctx: Any, g: Any) -> Any:
                return back(g, ctx.kept)

        return Kept.apply

    @staticmethod
    def by_the_next_op(x: Any) -> Any:
        h = x.exp()
        return h.sin_().clone(), h

    @staticmethod
    def by_a_scale(x: Any) -> Any:
        h = x.exp()
        out = h.sin()
        h.mul_(0.5)
        return out, h

    @staticmethod
    def by_two_writes(x: Any) -> Any:
        h = x.exp()
        out = h.sin()
        h.add_(1).clamp_(max=2)
        return out, h

    @pytest.mark.parametrize("name", ["by_the_next_op", "by_a_scale"])
    @pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
    def test_it_is_named(self, name: str, dtype: str) -> None:
        run = getattr(self, name)
        verdict = judge(self.kept(run, lambda g, h: g * h.cos() * h), at(dtype))
        assert verdict.kind is FailKind.WRONG, verdict.text()
        assert verdict.facts["hypothesis"]["name"] == "saved tensor written to"
        assert "was written to after it had been kept" in verdict.message
        where = "sin_" if name == "by_the_next_op" else "mul_"
        assert verdict.facts["departure"]["site"] == (__file__, line_of(run, where))

    def test_a_right_one(self) -> None:
        """What is written to is read as it is then."""
        verdict = judge(self.kept(self.by_a_scale, lambda g, h: g * (2 * h).cos() * 2 * h), at("float64"))
        assert verdict.outcome is Outcome.PASS, verdict.text()

    @pytest.mark.parametrize(
        "back",
        [
            lambda g, h: g * (2 * h).cos() * 2 * h * 1.5,
            lambda g, h: -g * (2 * h).cos() * 2 * h,
            lambda g, h: g.sign() * (2 * h).cos() * 2 * h,
            lambda g, h: g * (2 * h).sin() * 2 * h,
        ],
    )
    def test_silent_where_another_thing_is_true(self, back: Any) -> None:
        verdict = judge(self.kept(self.by_a_scale, back), at("float64"))
        assert verdict.outcome is Outcome.FAIL, verdict.text()
        assert verdict.facts.get("hypothesis", {}).get("name") != "saved tensor written to"


def test_a_mask_of_another_width_is_named() -> None:
    """Its literal is minus infinity, of which nothing is a multiple."""
    inside = lambda width: (torch.arange(4)[:, None] - torch.arange(4)).abs() < width

    def run(x: Any, width: int = 2) -> Any:
        return torch.softmax(torch.where(inside(width), x, -math.inf), -1)

    def back(g: Any, x: Any) -> Any:
        p = run(x, 3)
        return p * (g - (g * p).sum(-1, keepdim=True))

    verdict = judge(custom(run, back), torch.linspace(-1, 2, 16, dtype=torch.float64).reshape(4, 4) ** 2)
    assert verdict.outcome is Outcome.FAIL
    assert "where" in verdict.message


class TestWhatIsLeftOut:
    """A part of an array is taken where all of it should be added up."""

    @staticmethod
    def back_of_rows(g: Any, x: Any, w: Any) -> Any:
        return g * w, (g * x)[:-1].sum(0)

    @staticmethod
    def back_of_products(g: Any, x: Any, w: Any) -> Any:
        part, given = x[1:], g[1:]
        return g @ w.T, (part[:, :, None] * given[:, None, :]).sum(0)

    @staticmethod
    def back_of_a_number(g: Any, x: Any, w: Any) -> Any:
        rows = (g * x).sum(-1)
        return g * w, rows[:3].sum()

    CASES = {
        "rows": (lambda x, w: x * w, "[:-1]", (3,)),
        "products": (lambda x, w: x @ w, "x[1:], g[1:]", (3, 4)),
        "a_number": (lambda x, w: x * w, "rows[:3]", ()),
    }

    @pytest.mark.parametrize("name", CASES)
    def test_it_is_named(self, name: str) -> None:
        run, text, shape = self.CASES[name]
        back = getattr(self, f"back_of_{name}")
        draw = torch.Generator().manual_seed(3)
        x, w = (torch.randn(s, generator=draw, dtype=torch.float64).requires_grad_() for s in ((5, 3), shape))
        departure = found(run, back, x, w)
        assert "of which a part is taken there" in departure["repair"]
        assert departure["site"] == (__file__, line_of(back, text))

    def test_some_number_makes_a_single_entry_right(self) -> None:
        """dw is one entry, of another formula: no multiple of a step is named for it."""
        back = lambda g, x, w: (g * w, (g * x * x.exp()).sum())
        draw = torch.Generator().manual_seed(3)
        x, w = (torch.randn(s, generator=draw, dtype=torch.float64).requires_grad_() for s in ((5, 3), ()))
        verdict = judge(custom(lambda x, w: x * w, back), x, w)
        assert "times its value" not in verdict.facts.get("departure", {}).get("repair", "")
