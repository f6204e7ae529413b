"""Known factors of complex derivatives: they explain what frameworks lose, and nothing else."""

import numpy as np
import pytest

import gradverify as gv
from gradverify.core.outcome import Outcome
from gradverify.frameworks.forms import COMPLEX
from gradverify.judge.holomorphic import places
from gradverify.ops.build import lowered
from gradverify.ops.complex.lowering import ComplexBuilder, real_graph

torch = pytest.importorskip("torch")
LEFT = (-30 + 0.3j, 0.5 - 1j)


def check(f, *values, dtype=torch.complex128, **options):
    return gv.check(f, torch.tensor(values, dtype=dtype, requires_grad=True), effort="quick", **options)


@pytest.mark.parametrize("op", ["tanh", "sigmoid", "expm1"])
@pytest.mark.parametrize("modes", [("rev",), ("fwd",)])
def test_known(op, modes):
    z = LEFT if op == "expm1" else tuple(-v for v in LEFT)
    verdict = check(getattr(torch, op), *z, modes=modes)
    assert verdict.outcome is Outcome.KNOWN
    assert verdict.known.startswith(op)


def test_tan_far_from_the_real_axis_is_known_as_tan_alone():
    verdict = check(torch.tan, 0.3 + 30j, -1 + 0.5j)
    assert verdict.outcome is Outcome.KNOWN
    assert "tanh" not in verdict.known


def test_known_within_a_composition():
    assert check(lambda z: torch.tanh(3 * z) * 2j, 4 + 0.2j, 0.1 - 1j).outcome is Outcome.KNOWN


class Off(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z):
        out = torch.tanh(z)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx, g):
        (out,) = ctx.saved_tensors
        return g * (1 - out * out).conj() * (1 + 1e-9)


def test_a_rule_of_ones_own_is_not_excused():
    assert check(Off.apply, 12 + 0.2j, 0.5 - 1j).outcome is Outcome.FAIL


def test_what_the_factor_does_not_explain_is_not_excused():
    assert check(lambda z: torch.tanh(z) + z.real.sqrt() * 0 + z.detach() * 0, 0.5 + 0.2j).outcome is Outcome.PASS


@pytest.mark.parametrize("op", sorted(COMPLEX))
@pytest.mark.parametrize("shape", [(), (3,), (2, 1)])
def test_an_op_is_found_in_the_real_graph_where_it_is(op, shape):
    builder = ComplexBuilder()
    z = builder.input("z", shape, "complex")
    inner = builder.apply("multiply", z, z)
    graph = lowered(real_graph(builder.graph(builder.apply("exp", builder.apply(op, inner)))))
    found = places(graph, sorted(COMPLEX))
    assert [p.op for p in found] == [op]
    assert all(graph.nodes[k].shape == shape for k in (*found[0].argument, *found[0].result))


def test_none_is_found_where_there_is_none():
    builder = ComplexBuilder()
    z = builder.input("z", (3,), "complex")
    graph = lowered(real_graph(builder.graph(builder.apply("sinh", builder.apply("exp", z)))))
    assert places(graph, sorted(COMPLEX)) == []


def test_the_cotangent_parts_are_explained_together():
    verdict = check(torch.tanh, 12 + 2j, dtype=torch.complex64)
    assert verdict.outcome is Outcome.KNOWN
    assert np.isfinite(verdict.comparisons[-1].share)
