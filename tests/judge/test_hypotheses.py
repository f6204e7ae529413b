# ruff: noqa: E501 - one mistake, one line: a table
"""What is said of a wrong gradient: each mistake is named where it is made, and not where another one is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gradverify
from gradverify.core.graph import Apply
from gradverify.core.verdict import FailKind, Outcome
from gradverify.frameworks.base import Observation
from gradverify.generate.campaign import seeded_cases
from gradverify.judge.decide import decide
from gradverify.judge.hypotheses import HYPOTHESES
from gradverify.judge.hypotheses.explain import COINCIDENCES
from gradverify.namespaces import NUMPY
from gradverify.namespaces.run import forward, needed, reverse
from gradverify.ops.build import lowered
from tests.helpers import custom, judge
from tests.judge.test_decide import NumpyFramework

F32, F64, BF16 = torch.float32, torch.float64, torch.bfloat16


def normal(*shape: int, dtype: torch.dtype = F64, seed: int = 0) -> torch.Tensor:
    values = np.random.default_rng([seed, *shape]).standard_normal(shape)
    return torch.tensor(values, dtype=dtype).requires_grad_()


@dataclass(frozen=True)
class Mistake:
    """A function, a wrong backward pass, and what is to be said of it.

    name   of the hypothesis that is reported; "" for none
    says   a part of the sentence
    also   other hypotheses that give the very same gradient at that point
    """

    label: str
    forward: Callable[..., Any]
    wrong: Callable[..., Any]
    args: tuple[torch.Tensor, ...]
    name: str
    says: str = ""
    also: tuple[str, ...] = ()


def softmax_wrong(g: Any, x: Any) -> Any:
    y = x.softmax(-1)
    return y * (g - (g * y).mean(-1, keepdim=True))


def normed(x: torch.Tensor) -> torch.Tensor:
    d = x - x.mean(-1, keepdim=True)
    return d / ((d * d).mean(-1, keepdim=True) + 1e-5).sqrt()


def by_rows(run: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The function row by row, as a kernel's instances have it."""
    return lambda x: torch.stack([run(row) for row in x])


def root_mean_square(x: Any) -> Any:
    return x / ((x * x).mean(-1, keepdim=True) + 1e-5).sqrt()


def root_mean_square_back(g: Any, x: Any, sign: float) -> Any:
    r = 1 / ((x * x).mean(-1, keepdim=True) + 1e-5).sqrt()
    return r * (g - sign * x * r * (g * x * r).mean(-1, keepdim=True))


def two_products(x: Any) -> Any:
    """Of each row two products, on one line, that go the same way on."""
    return torch.stack([torch.sin(t) for r in x for t in (r * r.exp().sum(), r * r)])


def two_products_back(g: Any, x: Any, first: float, second: float) -> Any:
    e, d = x.exp(), g.reshape(len(x), 2, -1)
    s = e.sum(-1, keepdim=True)
    a, b = d[:, 0] * (x * s).cos(), d[:, 1] * (x * x).cos()
    return first * (a * s + (a * x).sum(-1, keepdim=True) * e) + second * 2 * b * x


def normed_back(g: Any, x: Any, mean: float, variance: float) -> Any:
    d = x - x.mean(-1, keepdim=True)
    r = 1 / ((d * d).mean(-1, keepdim=True) + 1e-5).sqrt()
    y = d * r
    return r * (g - mean * g.mean(-1, keepdim=True) - variance * y * (g * y).mean(-1, keepdim=True))


def two(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x.sin(), x.exp()


def pair(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A function of two outputs with this backward pass."""

    class Pair(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return two(x)

        @staticmethod
        def backward(ctx: Any, a: Any, b: Any) -> Any:
            return backward(a, b, *ctx.saved_tensors)

    return Pair.apply


def rotated(x: torch.Tensor) -> torch.Tensor:
    angle = torch.linspace(0.1, 1.0, x.shape[-1] // 2, dtype=x.dtype)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], dim=-1)


def tail(g: Any, x: Any) -> Any:
    d = g * x.cos()
    return torch.cat([d[:4], 0 * d[4:]])


x4, x5, m34, s33 = normal(4), normal(5), normal(3, 4), normal(3, 3)
Z = torch.complex(normal(4, seed=5).detach(), normal(4, seed=6).detach()).requires_grad_()
W = torch.complex(normal(4, seed=7).detach(), normal(4, seed=8).detach()).requires_grad_()
INDEX = torch.tensor([0, 2, 2, 4, 0, 1, 4])
MASK = torch.tensor([True, False, True, True, False])
SIN = lambda x: x.sin()

# fmt: off
MISTAKES = [
    Mistake("minus", SIN, lambda g, x: -g * x.cos(), (x5,), "factor", "times -1: its sign is flipped"),
    Mistake("third", lambda x: x**3, lambda g, x: g * x * x, (x5,), "factor", "times 1/3", ("formula",)),
    Mistake("two-sevenths", SIN, lambda g, x: 2 * g * x.cos() / 7, (x5,), "factor", "times 2/7"),
    Mistake("ln2", torch.exp2, lambda g, x: g * torch.exp2(x), (x5,), "factor", "times 1/ln 2", ("formula",)),
    Mistake("erf", torch.erf, lambda g, x: g * (-x * x).exp(), (x5,), "factor", "sqrt(pi)/2", ("formula",)),
    Mistake("degrees", SIN, lambda g, x: g * x.cos() * torch.pi / 180, (x5,), "factor", "pi/180"),
    Mistake("sum-for-mean", lambda x: x.mean(-1), lambda g, x: g[:, None].expand_as(x) * 1.0, (normal(3, 7),), "factor", "times 7, as of a sum for a mean", ("formula",)),
    Mistake("mean-for-sum", lambda x: x.sin().sum(-1), lambda g, x: g[:, None] * x.cos() / 7, (normal(3, 7),), "factor", "times 1/7, as of a mean for a sum"),
    Mistake("decimal", SIN, lambda g, x: g * x.cos() * 0.98765, (x5,), "unnamed factor", "times 0.98765 in every entry"),
    Mistake("tiny-factor", SIN, lambda g, x: g * x.cos() * (1 + 3e-7), (x5,), "unnamed factor", "times 1 +3e-07 in every entry"),
    Mistake("swapped", lambda x, y: x * y, lambda g, x, y: (g * x, g * y), (x5, normal(5, seed=1)), "swapped arguments", "they are exchanged"),
    Mistake("same-for-both", lambda x, y: x.sin() * y, lambda g, x, y: (g * x.cos() * y,) * 2, (x5, normal(5, seed=1)), "swapped arguments", "that of args[0]"),
    Mistake("transposed", lambda x: x @ x.exp(), lambda g, x: (g @ x.exp().T + (x.T @ g) * x.exp()).T, (s33,), "transposed", "transposed"),
    Mistake("ones", lambda x: x.exp() + x, lambda g, x: x.exp() + 1, (x5,), "cotangent ignored", "it is ignored"),
    Mistake("sign-of-g", lambda x: x.exp() + x, lambda g, x: g.sign() * (x.exp() + 1), (x5,), "cotangent's sign", "sign", ("cotangent clipped",)),
    Mistake("mean-of-g", lambda x: x.exp() + x, lambda g, x: g.mean() * (x.exp() + 1), (x5,), "cotangent's mean", "mean"),
    Mistake("sum-of-g", lambda x: x.exp() + x, lambda g, x: g.sum() * (x.exp() + 1), (x5,), "cotangent's sum", "sum"),
    Mistake("first-of-g", lambda x: x.sum(-1), lambda g, x: g[0].expand_as(x) * 1.0, (m34,), "cotangent's first entry", "first entry"),
    Mistake("size-of-g", lambda x: x.exp() + x, lambda g, x: g.abs() * (x.exp() + 1), (x5,), "cotangent's size", "absolute"),
    Mistake("relu-of-g", lambda x: x.exp() + x, lambda g, x: g.relu() * (x.exp() + 1), (x5,), "cotangent's positive part", "negative"),
    Mistake("g-squared", lambda x: x.exp() + x, lambda g, x: g * g * (x.exp() + 1), (x5,), "cotangent squared", "twice"),
    Mistake("no-conjugate", lambda z: z * z * z, lambda g, z: 3 * g * z * z, (Z,), "conjugate", "conjugate of args[0]"),
    Mistake("conjugate-of-g", lambda z: z * z * z, lambda g, z: 3 * (g * z * z).conj(), (Z,), "conjugate", "cotangent's conjugate", ("sign of a term",)),
    Mistake("one-conjugate", lambda z, w: z * w, lambda g, z, w: (g * w, g * z.conj()), (Z, W), "conjugate", "conjugate of args[1]"),
    Mistake("zero", lambda x, y: x * y, lambda g, x, y: (g * y, 0 * g), (x5, normal(5, seed=1)), "zero", "nothing reaches"),
    Mistake("clipped", lambda x: x**3, lambda g, x: (3 * g * x * x).clamp(-0.5, 0.5), (normal(9),), "clipped", "[-0.5, 0.5]"),
    Mistake("tail", SIN, tail, (normal(7),), "left out", "[4:7]"),
    Mistake("masked", SIN, lambda g, x: torch.where(x > 0.7, 0.0, g * x.cos()), (normal(36),), "masked", "args[0] is at least"),
    Mistake("no-mean", normed, lambda g, x: normed_back(g, x, 0, 1), (m34,), "missing term", "mean(args[0]"),
    Mistake("rows-without-mean", by_rows(normed), lambda g, x: normed_back(g, x, 0, 1), (m34,), "missing term", "in all 3 turns"),
    Mistake("rows-without-square", by_rows(root_mean_square), lambda g, x: root_mean_square_back(g, x, 0), (m34,), "missing term", "mean(", ("sign of a term", "formula")),
    Mistake("rows-of-softmax", by_rows(lambda x: x.exp() / x.exp().sum()), lambda g, x: g * x.softmax(-1), (m34,), "missing term", "in all 3 turns", ("formula", "sign of a term")),
    Mistake("rows-with-a-wrong-sign", by_rows(root_mean_square), lambda g, x: root_mean_square_back(g, x, -1), (m34,), "sign of a term", "in all 3 turns", ("factor of a term",)),
    Mistake("no-variance", normed, lambda g, x: normed_back(g, x, 1, 0), (m34,), "missing term", "mean(", ("sign of a term", "formula")),
    Mistake("variance-added", normed, lambda g, x: normed_back(g, x, 1, -1), (m34,), "sign of a term", "wrong sign", ("formula", "factor of a term")),
    Mistake("variance-twice", normed, lambda g, x: normed_back(g, x, 1, 2), (m34,), "formula", "lacks 0.5 in 0.5 * g", ("factor of a term",)),
    Mistake("term-twice", lambda x: x * x.sin(), lambda g, x: g * (x.sin() + 2 * x * x.cos()), (x5,), "factor of a term", "counted twice"),
    Mistake("term-halved", lambda x: x * x.sin(), lambda g, x: g * (0.6 * x.sin() + x * x.cos()), (x5,), "factor of a term", "times 3/5"),
    Mistake("nothing-of-both", normed, lambda g, x: normed_back(g, x, 0, 0), (m34,), "two terms", "lacks the terms"),
    Mistake("one-use", lambda x: x * x.sin(), lambda g, x: g * x.sin(), (x5,), "missing term", "argument 2", ("formula", "straight through")),
    Mistake("mask", lambda x: x.relu() * x, lambda g, x: g * (x + x.relu()), (x5,), "straight through", "mask ignored of relu", ("formula",)),
    Mistake("straight", lambda x: x.tanh() * x, lambda g, x: g * (x + x.tanh()), (x5,), "straight through", "1 for the derivative of tanh", ("formula",)),
    Mistake("overwritten", lambda x: x.exp().sin(), lambda g, x: g * x.exp().sin().cos() * x.exp(), (x5,), "read at the result", "sin(exp("),
    Mistake("matmul", lambda x, w: x @ w, lambda g, x, w: (g @ w, x.T @ g), (normal(2, 3), s33), "not transposed", "transpose of args[1]", ("formula", "forward again")),
    Mistake("cumsum", lambda x: x.cumsum(0), lambda g, x: g.cumsum(0), (x5,), "forward again", "cumulative_sum", ("formula",)),
    Mistake("rotated-forward", rotated, lambda g, x: rotated(g), (normal(3, 4),), "forward again", "the function itself", ()),
    Mistake("last-wins", lambda x: x[INDEX], lambda g, x: torch.zeros_like(x).index_put((INDEX,), g), (x5,), "written, not added", "the last"),
    Mistake("first-wins", lambda x: x[INDEX], lambda g, x: torch.zeros_like(x).index_put((INDEX.flip(0),), g.flip(0)), (x5,), "written, not added", "the first"),
    Mistake("mask-inverted", lambda x, y: torch.where(MASK, x.exp(), y), lambda g, x, y: (torch.where(MASK, 0.0, g) * x.exp(), torch.where(MASK, 0.0, g)), (x5, normal(5, seed=1)), "formula", "the mask inverted"),
    Mistake("sum-for-each", lambda x, y: x * y, lambda g, x, y: (g * (x + y),) * 2, (x5, normal(5, seed=1)), "swapped arguments", "both the sum"),
    Mistake("clamp-pair", lambda x: x.clamp(min=0) + x.clamp(max=0), lambda g, x: g * (1.0 * (x >= 0) + 1.0 * (x <= 0)), (torch.tensor([0.0, 1.5, -0.7], dtype=F64, requires_grad=True),), "convention", "a kink that the function has not"),
    Mistake("roll", lambda x: x.roll(2), lambda g, x: g.roll(2), (x5,), "forward again", "roll"),
    Mistake("first-slice", lambda x, b: x * b, lambda g, x, b: (g * b, (g * x)[0]), (m34, x4), "reduction", "first slice"),
    Mistake("wrong-axis", lambda x, b: x * b, lambda g, x, b: (g * b, (g * x).sum(-1)), (s33, normal(3)), "reduction", "over axis 1"),
    Mistake("softmax-mean", lambda x: x.softmax(-1), softmax_wrong, (m34,), "formula", "mean for sum(g * out)"),
    Mistake("softmax-none", lambda x: x.softmax(-1), lambda g, x: x.softmax(-1) * g, (m34,), "formula", "lacks sum(g * out)"),
    Mistake("in-float32", lambda x: x.exp() * x, lambda g, x: (g.float() * x.float().exp() * (1 + x.float())).double(), (x5,), "narrower dtype", "float32"),
    Mistake("saved-bfloat16", lambda x: x.sin() * x, lambda g, x: (lambda y: g * (y.cos() * y + y.sin()))(x.bfloat16().double()), (x5,), "narrower dtype", "args[0] rounded to bfloat16"),
    Mistake("g-in-float16", lambda x: x.exp() + x, lambda g, x: g.half().double() * (x.exp() + 1), (x5,), "narrower dtype", "cotangent of"),
    Mistake("bfloat16-minus", SIN, lambda g, x: -g * x.cos(), (normal(40, dtype=BF16),), "factor", "sign is flipped"),
    Mistake("float32-term", normed, lambda g, x: normed_back(g, x, 1, 0), (normal(3, 6, dtype=F32),), "missing term", "mean(", ("sign of a term", "formula")),
    Mistake("sign-of-one-product", two_products, lambda g, x: two_products_back(g, x, 1, -1), (m34,), "term of one step", "the wrong sign of the term that comes through getitem(args[0]) * getitem(args[0])"),
    Mistake("one-product-missing", two_products, lambda g, x: two_products_back(g, x, 0, 1), (m34,), "term of one step", "in all 3 turns"),
    Mistake("square-missing", two_products, lambda g, x: two_products_back(g, x, 1, 0), (m34,), "term of one step", "in all 3 turns"),
    Mistake("another-function", SIN, lambda g, x: g * (x.tanh() + 0.3), (x5,), ""),
    Mistake("one-entry-bfloat16", SIN, lambda g, x: g * (x.cos() + 0.25), (normal(1, dtype=BF16),), ""),
    Mistake("noise", SIN, lambda g, x: g * (x.cos() + 1e-3 * (37 * x).sin()), (x5,), ""),
]
# fmt: on

TWO = [
    ("exchanged", lambda a, b, x: b * x.cos() + a * x.exp(), "exchanged"),
    ("second-ignored", lambda a, b, x: a * x.cos(), "out1 ignored"),
    ("first-ignored", lambda a, b, x: b * x.exp(), "out0 ignored"),
]


def said_of(verdict: gradverify.Verdict) -> dict[str, Any]:
    assert verdict.outcome is Outcome.FAIL
    assert verdict.kind in (FailKind.WRONG, FailKind.PRECISION)
    return verdict.facts.get("hypothesis", {"name": "", "text": "", "others": []})


@pytest.mark.parametrize("m", MISTAKES, ids=lambda m: m.label)
def test_the_mistake_is_named_and_no_other(m: Mistake) -> None:
    verdict = judge(custom(m.forward, m.wrong), *m.args)
    said = said_of(verdict)
    assert said["name"] == m.name, said
    assert m.says in said["text"]
    assert set(said["others"]) <= set(m.also), said
    assert said["text"] in verdict.message


@pytest.mark.parametrize(("label", "backward", "says"), TWO, ids=[t[0] for t in TWO])
def test_a_mistake_with_two_outputs(label: str, backward: Callable[..., Any], says: str) -> None:
    said = said_of(judge(pair(backward), x5))
    assert (said["name"], says in said["text"]) == ("cotangents", True), said


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (lambda g, x: g.clamp(-1, 1) * x.cos(), "cotangent clipped"),
        (lambda g, x: g.sign() * x.cos(), "cotangent's sign"),
        (lambda g, x: (g * x.cos()).clamp(-0.7, 0.7), "clipped"),
    ],
)
def test_a_cotangent_that_tells_its_sign_from_clipping(wrong: Callable[..., Any], name: str) -> None:
    g = np.array([0.3, -2.0, 1.7, -0.6, 4.0])
    said = said_of(judge(custom(SIN, wrong), x5, cotangent=g))
    assert said["name"] == name
    assert not said["others"]


def test_every_hypothesis_is_named_by_a_mistake() -> None:
    assert {h.name for h in HYPOTHESES} == {m.name for m in MISTAKES if m.name} | {"cotangents", "cotangent clipped"}


def test_the_page_lists_every_hypothesis() -> None:
    page = (Path(__file__).parents[2] / "docs" / "check" / "mistakes.md").read_text(encoding="utf-8")
    rows = [tuple(c.strip() for c in line.split(" | ")) for line in page.splitlines() if line.startswith("| ")]
    assert rows[1:] == [(f"| {h.name}", f"{h.sentence} |") for h in HYPOTHESES]


def test_each_failing_argument_has_its_own_sentence_where_no_hypothesis_explains_all() -> None:
    wrong = lambda g, x, y: (-g * x.cos() * y, 2 * g * x.sin())
    said = said_of(judge(custom(lambda x, y: x.sin() * y, wrong), x5, normal(5, seed=1)))
    assert "dargs[0] is the right gradient times -1" in said["text"]
    assert "dargs[1] is the right gradient times 2" in said["text"]


def test_a_right_gradient_and_a_wrong_value_have_no_hypothesis() -> None:
    verdict = judge(custom(SIN, lambda g, x: g * x.cos()), x5)
    assert verdict.outcome is Outcome.PASS
    assert "hypothesis" not in verdict.facts
    wrong_value = gradverify.check(lambda x: -x.sin(), x5, reference=lambda x: x.sin(), effort="quick")
    assert wrong_value.outcome is Outcome.FAIL
    assert "hypothesis" not in wrong_value.facts


def test_a_backward_pass_of_numpy() -> None:
    verdict = gradverify.check(
        lambda x: np.sum(np.sin(x), axis=-1), m34.detach().numpy(), vjp=lambda g, x: np.sign(g)[:, None] * np.cos(x)
    )
    said = said_of(verdict)
    assert said["name"] == "cotangent's sign"
    assert "sign" in said["text"]


def test_a_large_graph_costs_a_bounded_time() -> None:
    def deep(x: torch.Tensor) -> torch.Tensor:
        for _ in range(120):
            x = (x + x.sin() * 0.1) / 1.05
        return x

    x = normal(50)
    start = x.detach().clone()
    verdict = judge(custom(deep, lambda g, x: g * (1 + x)), start.requires_grad_())
    assert verdict.outcome is Outcome.FAIL
    assert verdict.seconds < 60


class Without(NumpyFramework):
    """The op table's texts, but one node passes nothing on."""

    def __init__(self, node: int) -> None:
        super().__init__()
        self.node = node

    def run_vjp(self, function: Any, values: Any, wrt: Any, cotangent: Any) -> Observation:
        graph, dtype = function
        seen = super().run_vjp(function, values, wrt, cotangent)
        with np.errstate(all="ignore"):
            nodes = forward(NUMPY, graph, values, dtype)
            adjoint = reverse(NUMPY, graph, nodes, cotangent, wrt, dead=True, without=frozenset({self.node}))
        gradients = {n: np.asarray(adjoint.get(graph.inputs[n], 0 * values[n])).astype(dtype) for n in wrt}
        return replace(seen, gradients=gradients)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_node_of_a_random_graph_that_passes_nothing_on_is_found(dtype: str) -> None:
    rng = np.random.default_rng(11)
    named = 0
    for case in seeded_cases(11, 30, dtype):
        flat = lowered(case.graph)
        nodes = sorted(k for k in needed(flat, case.wrt) if isinstance(flat.nodes[k], Apply))
        verdict = decide(case, Without(int(rng.choice(nodes))))
        if verdict.kind is FailKind.WRONG:
            said = verdict.facts.get("hypothesis")
            assert said is not None, (case.graph.text(), verdict.message)
            assert {"missing term", "zero", "cotangents"} & {said["name"], *said["others"]} or len(
                said["others"]
            ) > 1, said
            named += 1
    assert named >= 10


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**20))
def test_a_fraction_is_read_off(p: int, q: int, seed: int) -> None:
    if p == q:
        return
    said = said_of(judge(custom(torch.tanh, lambda g, x: g * (1 - x.tanh() ** 2) * p / q), normal(4, seed=seed)))
    want = np.gcd(p, q)
    text = f"{p // want}/{q // want}" if q // want > 1 else str(p // want)
    assert f"times {text}" in said["text"], said


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**20), st.sampled_from([F64, F32, BF16]))
def test_noise_is_no_mistake(seed: int, dtype: torch.dtype) -> None:
    """Every entry is off by some tenths, each by another: at most one run in 1 / COINCIDENCES may be named."""
    off = torch.tensor(np.random.default_rng(seed).uniform(0.2, 0.8, 4), dtype=dtype)
    said = said_of(
        judge(
            custom(lambda x: x.exp() * x, lambda g, x: g * (x.exp() * (1 + x) + off)), normal(4, seed=seed, dtype=dtype)
        )
    )
    assert said["name"] == "", said
    assert COINCIDENCES < 1 / 25
