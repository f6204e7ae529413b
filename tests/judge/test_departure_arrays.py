"""Wrong steps that read another array, leave a value out, or are wrong in all turns of a loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gradverify import FailKind, Outcome
from tests.helpers import custom, judge
from tests.judge.test_departure import found, line_of

torch = pytest.importorskip("torch")


def drawn(*shape: int, seed: int = 3, dtype: str = "float64") -> Any:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draw, dtype=torch.float64).to(getattr(torch, dtype)).requires_grad_()


def causal(n: int, strict: bool = False) -> Any:
    i, j = torch.arange(n)[:, None], torch.arange(n)
    return i > j if strict else i >= j


def masked(x: Any) -> Any:
    return torch.where(causal(len(x)), x.exp(), 0.0)


def masked_back(g: Any, x: Any) -> Any:
    mask = causal(len(x), strict=True)
    return torch.where(mask, g * x.exp(), 0.0)


def inverted_back(g: Any, x: Any) -> Any:
    mask = ~causal(len(x))
    return torch.where(mask, g * x.exp(), 0.0)


def angles(x: Any, base: float) -> Any:
    return torch.arange(len(x), dtype=x.dtype)[:, None] / base ** torch.linspace(0, 1, x.shape[1], dtype=x.dtype)


def turned(x: Any, w: Any) -> Any:
    a = angles(x, 100.0)
    return x * a.cos() - w * a.sin()


def turned_back(g: Any, x: Any, w: Any) -> Any:
    a = angles(x, 101.0)
    dx = g * a.cos()
    return dx, -g * a.sin()


WEIGHTS = torch.tensor([[0.5, 2.0, -1.0], [1.5, 0.25, 3.0], [-2.0, 0.75, 1.0]], dtype=torch.float64)


def weighted(x: Any) -> Any:
    return (x @ WEIGHTS).sin()


def weighted_back(g: Any, x: Any) -> Any:
    d = g * (x @ WEIGHTS).cos()
    return d @ WEIGHTS


def picked(x: Any) -> Any:
    return x[torch.tensor([0, 2, 1])].sin()


def picked_back(g: Any, x: Any) -> Any:
    d = g * picked_cosine(x)
    return torch.zeros_like(x).index_add(0, torch.tensor([0, 1, 2]), d)


def picked_cosine(x: Any) -> Any:
    return x[torch.tensor([0, 2, 1])].cos()


class TestArrays:
    """The backward pass has made an array of no argument, and it is another than the definition's."""

    CASES: dict[str, tuple[Callable[..., Any], Callable[..., Any], str, tuple[tuple[int, ...], ...]]] = {
        "mask": (masked, masked_back, "torch.where(mask", ((5, 5),)),
        "inverted mask": (masked, inverted_back, "torch.where(mask", ((5, 5),)),
        "tables": (turned, turned_back, "dx =", ((6, 4), (6, 4))),
        "matrix": (weighted, weighted_back, "return d @", ((4, 3),)),
        "indices": (picked, picked_back, "index_add", ((3, 4),)),
    }

    @pytest.mark.parametrize("name", CASES)
    @pytest.mark.parametrize("dtype", ["float64", "float32"])
    def test_it_is_named(self, name: str, dtype: str) -> None:
        if name == "matrix" and dtype == "float32":
            pytest.skip("the table is of doubles")
        run, back, text, shapes = self.CASES[name]
        args = [drawn(*shape, seed=k, dtype=dtype) for k, shape in enumerate(shapes)]
        departure = found(run, back, *args)
        assert departure["site"] == (__file__, line_of(back, text)), departure
        assert departure["reads_array"] or name == "matrix"

    def test_an_array_of_a_wrong_formula_is_not_blamed(self) -> None:
        """The mask is the definition's, and the slope is wrong."""

        def back(g: Any, x: Any) -> Any:
            mask = causal(len(x))
            slope = x.exp() * 1.5
            return torch.where(mask, g * slope, 0.0)

        departure = found(masked, back, drawn(5, 5))
        assert departure["site"] == (__file__, line_of(back, "1.5"))


class TestPlaces:
    """A part of an array is taken at another place."""

    @staticmethod
    def pairs_back(g: Any, x: Any) -> Any:
        a = x[:, 1:3]
        return torch.cat([g * x[:, 2:], g * a], 1)

    @staticmethod
    def last_back(g: Any, x: Any) -> Any:
        e = x.exp()
        top = e[-2]
        return torch.cat([g[None] * top, torch.zeros_like(e[1:-1]), g[None] * x[:1] * e[-1:]])

    @staticmethod
    def lagged(x: Any) -> Any:
        h = x.sin()
        return h[1:] * h[:-1]

    @staticmethod
    def lagged_back(g: Any, x: Any) -> Any:
        h, zero = x.sin(), torch.zeros_like(x[:1])
        d = torch.cat([zero, g * h[1:]])
        d = d + torch.cat([g * h[1:], zero])
        return d * x.cos()

    CASES = {
        "pairs": (lambda x: x[:, :2] * x[:, 2:], "x[:, 1:3]", (3, 4)),
        "last": (lambda x: x[0] * x[-1].exp(), "e[-2]", (4, 3)),
        "lagged": (lagged.__func__, "torch.cat([zero", (6, 2)),  # type: ignore[attr-defined]
    }

    @pytest.mark.parametrize("name", CASES)
    def test_it_is_named(self, name: str) -> None:
        run, text, shape = self.CASES[name]
        back = getattr(self, f"{name}_back")
        departure = found(run, back, drawn(*shape))
        assert departure["site"] == (__file__, line_of(back, text)), departure


class TestUnused:
    """What is computed and left out."""

    @staticmethod
    def a_term_back(g: Any, x: Any) -> Any:
        y = x.softmax(-1)
        inner = y * (g * y).sum(-1, keepdim=True)  # noqa: F841
        return y * g + 0 * x

    @staticmethod
    def one_row_back(g: Any, x: Any, w: Any) -> Any:
        rows = [a * b for a, b in zip(g, x)]
        dw = torch.stack(rows[1:])
        return g * w, dw.sum(0)

    @staticmethod
    def a_path_back(g: Any, x: Any) -> Any:
        e = x.exp()
        direct = g * e.sin()
        through = g * x * e.cos() * e  # noqa: F841
        return direct

    CASES = {
        "a_term": (lambda x: x.softmax(-1), "return y * g", ((3, 4),)),
        "one_row": (lambda x, w: x * w, "rows[1:]", ((5, 3), (3,))),
        "a_path": (lambda x: x * x.exp().sin(), "direct = g", ((4, 3),)),
    }

    @pytest.mark.parametrize("name", CASES)
    def test_it_is_named(self, name: str) -> None:
        run, text, shapes = self.CASES[name]
        back = getattr(self, f"{name}_back")
        departure = found(run, back, *(drawn(*shape, seed=k) for k, shape in enumerate(shapes)))
        assert "which nothing uses" in departure["repair"]
        assert departure["site"] == (__file__, line_of(back, text)), departure

    def test_what_is_unused_and_no_part_of_the_gradient_is_not_named(self) -> None:
        def back(g: Any, x: Any) -> Any:
            left = g * x * x  # noqa: F841
            return g * x.cos() * 1.5

        departure = found(torch.sin, back, drawn(4))
        assert departure["repair"] == "with 1 for 1.5"


def recurrent(x: Any, w: Any) -> Any:
    h, rows = torch.zeros_like(x[0]), []
    for row in x:
        h = torch.tanh(w * h + row)
        rows.append(h)
    return torch.stack(rows)


def recurrent_back(g: Any, x: Any, w: Any) -> Any:
    h = recurrent(x, w)
    d, dw, found = torch.zeros_like(x[0]), torch.zeros_like(w), []
    for k in range(len(x) - 1, -1, -1):
        d = (g[k] + d) * (1 - h[k] * h[k])
        found.append(d)
        before = h[k - 1] if k else torch.zeros_like(d)
        dw = dw + d * before
        d = d * w
    return torch.stack(found[::-1]), dw


def with_the_same_state(g: Any, x: Any, w: Any) -> Any:
    h = recurrent(x, w)
    d, dw, found = torch.zeros_like(x[0]), torch.zeros_like(w), []
    for k in range(len(x) - 1, -1, -1):
        d = (g[k] + d) * (1 - h[k] * h[k])
        found.append(d)
        before = h[k - 1] if k else torch.zeros_like(d)
        dw = dw + d * (h[k] if k else before)
        d = d * w
    return torch.stack(found[::-1]), dw


def with_a_plus(g: Any, x: Any, w: Any) -> Any:
    h = recurrent(x, w)
    d, dw, found = torch.zeros_like(x[0]), torch.zeros_like(w), []
    for k in range(len(x) - 1, -1, -1):
        d = (g[k] + d) * (1 + h[k] * h[k])
        found.append(d)
        before = h[k - 1] if k else torch.zeros_like(d)
        dw = dw + d * before
        d = d * w
    return torch.stack(found[::-1]), dw


def with_the_cotangent(g: Any, x: Any, w: Any) -> Any:
    h = recurrent(x, w)
    d, dw, found = torch.zeros_like(x[0]), torch.zeros_like(w), []
    for k in range(len(x) - 1, -1, -1):
        c = g[k] + d
        d = c * (1 - h[k] * h[k])
        found.append(d)
        before = h[k - 1] if k else torch.zeros_like(d)
        dw = dw + c * before
        d = d * w
    return torch.stack(found[::-1]), dw


class TestLoops:
    """A step is wrong in every turn of a loop that has too many nodes to try each."""

    def test_a_right_one(self) -> None:
        verdict = judge(custom(recurrent, recurrent_back), drawn(40, 3), drawn(3, seed=1))
        assert verdict.outcome is Outcome.PASS, verdict.text()

    CASES = {
        "with_the_same_state": (with_the_same_state, "dw = dw +"),
        "with_a_plus": (with_a_plus, "1 + h[k]"),
        "with_the_cotangent": (with_the_cotangent, "dw = dw +"),
    }

    @pytest.mark.parametrize("name", CASES)
    def test_it_is_named(self, name: str) -> None:
        back, text = self.CASES[name]
        departure = found(recurrent, back, drawn(40, 3), drawn(3, seed=1))
        assert departure["repair"].endswith(" turns")
        assert departure["site"] == (__file__, line_of(back, text)), departure

    def test_two_mistakes_in_each_turn_are_not_named(self) -> None:
        def back(g: Any, x: Any, w: Any) -> Any:
            dx, dw = with_a_plus(g, x, w)
            return dx, dw * x.exp().sum(0)

        verdict = judge(custom(recurrent, back), drawn(40, 3), drawn(3, seed=1))
        assert verdict.kind is FailKind.WRONG
        assert "departure" not in verdict.facts, verdict.message


class TestBlame:
    """A product has the value of no cotangent: of its two arguments it is the one that is none of the definition's."""

    def test_a_target_that_is_smoothed_otherwise(self) -> None:
        n, target = 5, torch.tensor([0, 3, 1])

        def run(x: Any) -> Any:
            z = x.log_softmax(-1)
            return -(0.9 * z.gather(-1, target[:, None])[:, 0] + 0.1 * z.mean(-1)).sum() / 3

        def back(g: Any, x: Any) -> Any:
            smooth = 0.9 * torch.nn.functional.one_hot(target, n) + 0.1 / (n - 1)
            d = x.softmax(-1) - smooth
            scale = g / 3
            return d * scale + 0 * x

        departure = found(run, back, drawn(3, 5))
        assert departure["site"] == (__file__, line_of(back, "d = x.softmax")), departure

    def test_a_quotient(self) -> None:
        run = lambda x, w: x / (1 + w * w)

        def back(g: Any, x: Any, w: Any) -> Any:
            q = 1 + w * w
            inner = g * x * (w + w.exp())
            dw = -inner / (q * q)
            return g / q, dw * 1.0

        departure = found(run, back, drawn(4), drawn(4, seed=1))
        assert departure["site"][1] <= line_of(back, "dw ="), departure


class TestAxes:
    """A reduction goes over another axis of a square."""

    @staticmethod
    def bias_back(g: Any, x: Any, w: Any) -> Any:
        dw = (g * x).sum(1)
        return g * w, dw

    @staticmethod
    def softmax_back(g: Any, x: Any) -> Any:
        y = x.softmax(-1)
        inner = (g * y).sum(0)
        return y * (g - inner[:, None])

    @staticmethod
    def centred_back(g: Any, x: Any) -> Any:
        mean = g.mean(1)
        return g - mean

    CASES = {
        "bias": (lambda x, w: x * w, "dw =", ((4, 4), (4,))),
        "centred": (lambda x: x - x.mean(0), "mean = g", ((4, 4),)),
        "softmax": (lambda x: x.softmax(-1), "inner = ", ((3, 3),)),
    }

    @pytest.mark.parametrize("name", CASES)
    def test_it_is_named(self, name: str) -> None:
        run, text, shapes = self.CASES[name]
        back = getattr(self, f"{name}_back")
        departure = found(run, back, *(drawn(*shape, seed=k) for k, shape in enumerate(shapes)))
        assert departure["site"] == (__file__, line_of(back, text)), departure
