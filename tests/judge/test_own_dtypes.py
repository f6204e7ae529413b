"""Budgets in which every node has its own dtype, and backward passes that make arrays of literals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradverify import FailKind, Outcome
from gradverify.core.case import Case, Mixed
from gradverify.judge.budget import SAFETY, Budget, Conditions, budget, several_casts
from gradverify.judge.reference import reference
from gradverify.namespaces.dtypes import rounded
from gradverify.ops.build import GraphBuilder
from tests.helpers import custom, judge

torch = pytest.importorskip("torch")
HALF = torch.bfloat16
U = 2.0**-8
"""The unit roundoff of bfloat16."""


def drawn(*shape: int, seed: int = 0) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(HALF).requires_grad_()


def case_of_casts(rows: int, mark: str = "float32") -> Case:
    """x + b in `mark`, of bfloat16 rows: cast, added, cast back; and x once more, cast and doubled."""
    b = GraphBuilder()
    x, bias, one = b.input("x", (rows,)), b.input("b", ()), b.constant(1.0)
    first, second, wide = b.apply("multiply", x, one), b.apply("multiply", x, one), b.apply("multiply", bias, one)
    total = b.apply("add", b.apply("subtract", first, second), wide)
    out = b.apply("multiply", total, one)
    nodes = {k: mark for k in (first, second, wide, total - 1, total)} | {out: "bfloat16"}
    graph = b.graph(out)
    rng = np.random.default_rng(0)
    values = {"x": rounded(rng.standard_normal(rows), "bfloat16"), "b": rounded(np.float64(0.3), "bfloat16")}
    g = rounded(rng.standard_normal(rows), "bfloat16")
    mixed = Mixed({"x": "bfloat16", "b": "bfloat16"}, ("bfloat16",), "float32", nodes, graph)
    return Case("n", graph, values, (g,), "bfloat16", ("x", "b"), mixed=mixed)


def budget_of(case: Case, **how: Any) -> Budget:
    g = np.asarray(case.cotangent[0], dtype=np.float64)
    x, b = (np.asarray(case.values[n], dtype=np.float64) for n in ("x", "b"))
    return budget(case, (0 * x + b,), {"x": 0 * g, "b": g.sum()}, Conditions(**how))


def test_every_rerun_is_nudged_alike() -> None:
    """A difference of two casts to bfloat16: the roundings of both are in it, in each rerun."""
    x = drawn(64, 8)
    part = custom(lambda a: a.float().sin().to(HALF), lambda g, a: (g.float() * a.float().cos()).to(HALF))
    verdict = judge(lambda a: part(a) - part(a * 1.015625), x)
    assert verdict.outcome is not Outcome.FAIL, verdict.text()
    few, many = (budget_of(case_of_casts(64), reruns=n).outputs[0] for n in (1, 16))
    assert np.median(many) > 0.5 * np.median(few)


def test_a_cast_passes_its_cotangent_on_unrounded() -> None:
    """db is a sum of cotangents that are bfloat16 numbers, added up in float32, and rounded twice at most."""
    case = case_of_casts(256)
    true = abs(float(np.asarray(case.cotangent[0], dtype=np.float64).sum()))
    spread = 1.5  # of a root mean square of 16 normal numbers: off by half of itself once in 10,000
    assert float(budget_of(case).gradients["b"]) <= SAFETY * U * true * (spread + 1)


def test_several_casts_of_an_input_count_as_one_where_it_is_rounded_once() -> None:
    """g and -g arrive at x: an engine rounds both, and their sum is off by that; a kernel has 0."""
    case = case_of_casts(64)
    assert several_casts(case) == {"x"}
    each, once = budget_of(case), budget_of(case, once=frozenset({"x"}))
    g = np.abs(np.asarray(case.cotangent[0], dtype=np.float64))
    assert np.median(each.gradients["x"] / g) > SAFETY * U
    assert np.median(once.gradients["x"] / g) < 0.1 * U  # zeros have u² of the largest entry


def test_the_reference_is_that_of_the_nodes_dtypes() -> None:
    wide, narrow = (reference(case_of_casts(32, mark)).budget.outputs[0] for mark in ("float32", "bfloat16"))
    assert np.median(narrow) > np.median(wide)


def silu(slope: Any) -> Any:
    """x·σ(x) by two casts of x; `slope` maps (g, x, σ), all float32, to the gradient in bfloat16."""

    def backward(g: Any, x: Any) -> Any:
        return slope(g.float(), x.float(), torch.sigmoid(x.float()))

    return custom(lambda x: (x.float() * torch.sigmoid(x.float())).to(HALF), backward)


def test_a_slope_in_16_bits_is_not_excused_by_casts_of_the_forward_pass() -> None:
    right = judge(silu(lambda g, x, s: (g * s * (1 + x * (1 - s))).to(HALF)), drawn(64, 8))
    assert right.outcome is Outcome.PASS, right.text()
    assert right.power_of_values < 0.1
    bad = judge(
        silu(lambda g, x, s: (g * (s.to(HALF) * (1 + x.to(HALF) * (1 - s.to(HALF)))).float()).to(HALF)), drawn(64, 8)
    )
    assert bad.kind is FailKind.PRECISION, bad.text()


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: (x.float() * torch.sigmoid(x.float())).to(HALF),
        silu(lambda g, x, s: (g * s).to(HALF) + (g * s * x * (1 - s)).to(HALF)),
        lambda x: silu(lambda g, x, s: (g * s * (1 + x * (1 - s))).to(HALF))(x).float() - 0.5 * x.float().sin(),
        lambda x: torch.stack([x.view(-1).float(), x.view(-1).float().cos()]).sum(0),
    ],
    ids=["native", "added by hand", "added by the engine", "views"],
)
def test_gradients_that_are_added_up_in_16_bits_are_excused(fn: Any) -> None:
    verdict = judge(fn, drawn(64, 8))
    assert verdict.outcome is not Outcome.FAIL, verdict.text()


def gather_rows(narrow: bool) -> Any:
    index = torch.arange(32) % 24

    def backward(g: Any, x: Any) -> Any:
        g = (g.float() * 1.7).to(HALF).float() if narrow else g.float() * 1.7
        return torch.zeros(x.shape).index_add(0, index, g).to(HALF)

    return custom(lambda x: (x.float()[index] * 1.7).to(HALF), backward)


def test_rows_without_a_cotangent_are_no_branch() -> None:
    assert judge(gather_rows(False), drawn(64, 8)).outcome is Outcome.PASS
    verdict = judge(gather_rows(True), drawn(64, 8))
    assert verdict.outcome is not Outcome.INCONCLUSIVE, verdict.text()


def smoothed(share: float) -> Any:
    """Cross entropy against a smoothed target; the backward pass makes an array of the target."""
    n, target = 24, torch.arange(8)

    def forward(x: Any) -> Any:
        z = x.float()
        return (z.logsumexp(-1) - 0.9 * z[torch.arange(8), target] - 0.1 * z.mean(-1)).to(HALF)

    def backward(g: Any, x: Any) -> Any:
        smooth = 0.9 * torch.nn.functional.one_hot(target, n).float() + share / n
        return (g.float()[:, None] * (x.float().softmax(-1) - smooth)).to(HALF)

    return custom(forward, backward)


def test_an_array_made_of_literals_is_as_good_as_its_dtype() -> None:
    right = judge(smoothed(0.1), drawn(8, 24))
    assert right.outcome is Outcome.PASS, right.text()
    assert right.formula is not None
    assert right.formula.right
    assert 1e-9 < right.formula.power < 1e-3  # what a float32 leaves open of p - 0.1/n
    wrong = judge(smoothed(0.1001), drawn(8, 24))
    assert wrong.kind is FailKind.WRONG, wrong.text()


def test_numbers_of_the_definition_s_own_arrays_are_exact() -> None:
    weight = torch.linspace(0.1, 0.9, 96).reshape(4, 24)
    fn = custom(lambda x: (x.float() * weight).to(HALF), lambda g, x: (g.float() * (-weight) * -1.0).to(HALF))
    verdict = judge(fn, drawn(4, 24))
    assert verdict.outcome is Outcome.PASS, verdict.text()
    assert verdict.power < 1e-12


def test_a_formula_that_is_wrong_is_called_so_where_its_values_fail_as_well() -> None:
    def backward(g: Any, x: Any) -> Any:
        return (g.float() * x.float().cos() * 1.03 - 0.02 * g.float() * x.float().sin()).to(HALF)

    verdict = judge(custom(lambda x: x.float().sin().to(HALF), backward), drawn(16, 8))
    assert verdict.kind is FailKind.WRONG, verdict.text()


def recurrence(narrow: bool) -> Any:
    """h <- h/2 + k[t] over the rows of k, which a trace takes with steps of its own; the sum of all h."""

    def states(k: Any) -> Any:
        h, out = torch.zeros(k.shape[1]), []
        for t in range(k.shape[0]):
            h = 0.5 * h + k[t].float().sin() if k.dtype == HALF else 0.5 * h + k[t].sin()
            out.append(h)
        return torch.stack(out)

    def backward(g: Any, k: Any) -> Any:
        dh, out = torch.zeros(k.shape[1]), []
        for t in reversed(range(k.shape[0])):
            dh = 0.5 * dh + g.float()[t]
            dh = dh.to(HALF).float() if narrow else dh
            out.append(dh * k.float()[t].cos())
        return torch.stack(out[::-1]).to(HALF)

    return custom(lambda k: states(k.float()).to(HALF), backward)


def test_the_steps_of_an_indexing_excuse_no_narrow_state() -> None:
    right = judge(recurrence(False), drawn(32, 4))
    assert right.outcome is Outcome.PASS, right.text()
    assert right.power_of_values < 0.1
    bad = judge(recurrence(True), drawn(32, 4))
    assert bad.outcome in (Outcome.FAIL, Outcome.WEAK), bad.text()


def test_a_sorted_value_is_in_the_dtype_of_what_is_sorted() -> None:
    def forward(x: Any) -> Any:
        return (x.float().topk(2, -1).values * 1.7).to(HALF)

    def backward(g: Any, x: Any) -> Any:
        at = x.float().topk(2, -1).indices
        return torch.zeros(x.shape).scatter(-1, at, g.float() * 1.7).to(HALF)

    verdict = judge(custom(forward, backward), drawn(16, 6))
    assert verdict.outcome is Outcome.PASS, verdict.text()
    assert verdict.power_of_values < 0.1


def test_a_weight_added_up_over_rows_in_16_bits_is_reported() -> None:
    def backward(g: Any, x: Any, w: Any) -> Any:
        total = torch.zeros(w.shape, dtype=HALF)
        for row in (g.float() * x.float()).to(HALF):
            total = total + row
        return (g.float() * w.float()).to(HALF), total

    x, w = drawn(256, 8), drawn(8, seed=1)
    verdict = judge(custom(lambda x, w: (x.float() * w.float()).to(HALF), backward), x, w)
    assert verdict.outcome in (Outcome.FAIL, Outcome.WEAK), verdict.text()
    whole = custom(
        lambda x, w: (x.float() * w.float()).to(HALF),
        lambda g, x, w: ((g.float() * w.float()).to(HALF), (g.float() * x.float()).sum(0).to(HALF)),
    )
    assert judge(whole, x, w).outcome is Outcome.PASS


def test_a_literal_of_a_float32_step_is_not_excused_by_16_bits() -> None:
    """0.7 is 2e-3 off in bfloat16; a recurrence of 24 steps with it is off by more than a rounding of the result."""

    def forward(x: Any) -> Any:
        h = torch.zeros(4)
        for t in range(24):
            h = 0.7 * h + x.float()[t]
        return h.to(HALF)

    def backward(rate: float) -> Any:
        return lambda g, x: torch.stack([g.float() * rate ** (23 - t) for t in range(24)]).to(HALF)

    right = judge(custom(forward, backward(0.7)), drawn(24, 4))
    assert right.outcome is Outcome.PASS, right.text()
    assert right.power_of_values < 0.1
    assert judge(custom(forward, backward(0.69)), drawn(24, 4)).kind is FailKind.WRONG


@pytest.mark.parametrize("fn", [lambda x: (x * 0.1).float() * 0.7, lambda x: (x.float() * 0.1).to(HALF) * 0.3 + 0.1])
def test_literals_of_native_functions_are_right(fn: Any) -> None:
    assert judge(fn, drawn(16, 4)).outcome is Outcome.PASS


def test_a_constant_that_is_a_little_off_is_no_matter_of_16_bits() -> None:
    """0.0447 for 0.044715: float32 resolves it, and what the backward pass computes in vain is no excuse."""

    def backward(c: float) -> Any:
        def gradient(g: Any, x: Any) -> Any:
            x = x.float()
            t = torch.tanh(0.7978845608028654 * (x + c * x * x * x))
            slope = 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * 0.7978845608028654 * (1 + 3 * c * x * x)
            return (g.float() * slope).to(HALF)

        return gradient

    def forward(x: Any) -> Any:
        x = x.float()
        return (0.5 * x * (1 + torch.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))).to(HALF)

    x = (1.5 * drawn(64, 8)).detach().requires_grad_()
    assert judge(custom(forward, backward(0.044715)), x).outcome is Outcome.PASS
    verdict = judge(custom(forward, backward(0.0447)), x)
    assert verdict.kind is FailKind.WRONG, verdict.text()
