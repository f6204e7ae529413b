"""Complex cases against one truth: each framework's convention is right, and every way to get it wrong is found out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mpmath
import numpy as np
import pytest

from gradverify.core.errors import ShapeError, Unsupported
from gradverify.core.graph import Graph
from gradverify.core.verdict import FailKind, Outcome, Reason
from gradverify.frameworks.base import Framework, Observation
from gradverify.frameworks.engine.adapter import EngineFramework
from gradverify.frameworks.graphs import over_pairs
from gradverify.frameworks.jax.adapter import JaxFramework
from gradverify.frameworks.torch.adapter import TorchFramework
from gradverify.judge.complex_case import real_case, suspects
from gradverify.judge.decide import decide
from gradverify.namespaces import NUMPY
from gradverify.namespaces.run import forward
from gradverify.ops.complex.lowering import COMPLEX, ComplexBuilder, is_complex, lowered_with_places, real_graph
from gradverify.run.runner import Settings, judge_case
from gradverify.spec import loads

from ..helpers import case_of

torch = pytest.importorskip("torch")
jax = pytest.importorskip("jax")

SUBJECTS = [EngineFramework(), TorchFramework(), JaxFramework()]
NAMES = [s.name for s in SUBJECTS]


# ---- lowering ----------------------------------------------------------------------------------------------------------


def test_the_real_graph_has_parts_for_inputs_and_outputs() -> None:
    b = ComplexBuilder()
    z, x = b.input("z", (2,), "complex"), b.input("x", (2,))
    graph = b.graph(b.apply("multiply", z, x), b.apply("abs", z))
    real = real_graph(graph)
    assert list(real.inputs) == ["z.real", "z.imag", "x"]
    assert [real.nodes[o].kind for o in real.outputs] == ["float"] * 3
    assert not is_complex(real)


@pytest.mark.parametrize(
    "op", ["exp", "log", "sqrt", "sin", "tanh", "reciprocal", "conj", "sgn", "angle", "abs", "square"]
)
def test_the_real_graph_computes_the_complex_function(op: str) -> None:
    """Against mpmath's own complex functions."""
    own: dict[str, Callable[[Any], Any]] = {
        "reciprocal": lambda z: 1 / z, "conj": mpmath.conj, "sgn": lambda z: z / abs(z), "angle": mpmath.arg, "abs": abs,
        "square": lambda z: z * z,
    }  # fmt: skip
    z = np.array([1 + 2j, -0.5 - 1j, 0.25 + 0.75j])
    b = ComplexBuilder()
    graph = b.graph(b.apply(op, b.input("z", (3,), "complex")))
    real = real_graph(graph)
    values = forward(NUMPY, real, {"z.real": z.real, "z.imag": z.imag}, "float64")
    got = [values[o] for o in real.outputs]
    want = [complex(own.get(op, getattr(mpmath, op, None))(mpmath.mpc(v))) for v in z.tolist()]  # type: ignore[misc]
    np.testing.assert_allclose(got[0], np.real(want), rtol=1e-14)
    if len(got) == 2:
        np.testing.assert_allclose(got[1], np.imag(want), rtol=1e-14)


@pytest.mark.parametrize("name", sorted(COMPLEX))
def test_shapes_of_complex_ops_are_those_of_numpy(name: str) -> None:
    spec = COMPLEX[name]
    b = ComplexBuilder()
    args = [b.input(f"a{i}", (2, 4), spec.argument(i)) for i in range(spec.arity)]
    node = b.nodes[b.apply(name, *args)]
    own = (
        getattr(np.fft, name, None)
        or {"complex": np.add, "polar": np.add, "sgn": np.sign}.get(name)
        or getattr(np, name)
    )
    arrays = [np.ones((2, 4), complex if spec.argument(i) == "complex" else float) for i in range(spec.arity)]
    want = own(*arrays)
    assert node.shape == want.shape
    assert (node.kind == "complex") == (name not in ("real", "imag", "angle", "irfft"))


def test_kinds_are_checked_when_a_graph_is_built() -> None:
    b = ComplexBuilder()
    z, x = b.input("z", (3,), "complex"), b.input("x", (3,))
    for op, args in (("maximum", (z, x)), ("sign", (z,)), ("rfft", (z,)), ("complex", (x, z)), ("argmax", (z,))):
        with pytest.raises(ShapeError, match="complex"):
            b.apply(op, *args)
    assert b.kind(b.apply("equal", z, x)) == "bool"
    assert b.kind(b.apply("vector_norm", z)) == "float"
    assert b.kind(b.apply("where", b.apply("greater", x, x), z, x)) == "complex"
    with pytest.raises(ShapeError, match="nothing to transform"):
        b.apply("irfft", b.apply("getitem", z, index=((0, 1, 1),)))


def test_numbers_alone_are_no_obstacle() -> None:
    b = ComplexBuilder()
    one, two = b.constant(1 - 2j, "complex"), b.constant(3.0)
    k = b.apply("add", b.input("z", (), "complex"), b.apply("abs", b.apply("multiply", one, two)))
    real, _ = lowered_with_places(b.graph(k))
    values = forward(NUMPY, real, {"z.real": np.array(0.5), "z.imag": np.array(0.25)}, "float64")
    assert [float(values[o]) for o in real.outputs] == [0.5 + abs(3 - 6j), 0.25]


# ---- verdicts ----------------------------------------------------------------------------------------------------------

RIGHT = [
    "exp(z) * conj(z)", "abs(z) * angle(z)", "sum(real(z) * imag(z))", "fft(log(z) / (z + 3))", "z ** (1 - 0.5j)",
    "sqrt(z) + 1j * z", "var(z)", "where(real(z) > 0, z * z, conj(z))", "prod(z)", "[sin(z), vector_norm(z)]",
]  # fmt: skip


@pytest.mark.parametrize("subject", SUBJECTS, ids=NAMES)
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("expr", RIGHT)
def test_right_ones_pass(expr: str, dtype: str, subject: Any) -> None:
    verdict = decide(case_of(expr, dtype), subject)
    assert verdict.outcome is Outcome.PASS, verdict.text()
    assert verdict.dtype == dtype
    assert {c.of for c in verdict.comparisons} >= {"dz.real", "dz.imag"}


class _Torch(torch.autograd.Function):
    """exp with a backward of one's own."""

    @staticmethod
    def forward(ctx: Any, z: Any, rule: Any) -> Any:
        out = torch.exp(z)
        ctx.save_for_backward(out)
        ctx.rule = rule
        return out

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return ctx.rule(g, *ctx.saved_tensors), None


def own_exp(rule: Callable[[Any, Any], Any]) -> TorchFramework:
    return TorchFramework(table={"exp": lambda z: _Torch.apply(z, rule)})


WRONG = {
    "no conjugate": lambda g, out: g * out,
    "both conjugated": lambda g, out: (g * out).conj(),
    "half": lambda g, out: 0.5 * g * out.conj(),
    "imaginary part dropped": lambda g, out: torch.complex((g * out.conj()).real, torch.zeros_like(g.real)),
    "modulus": lambda g, out: g * out.abs(),
    "one part in a million": lambda g, out: g * out.conj() * (1 + 1e-6),
    "turned by a millionth": lambda g, out: g * out.conj() * (1 + 1e-6j),
}


def test_ones_own_kernel_is_judged_by_its_convention() -> None:
    case = case_of("exp(z) * z")
    assert decide(case, own_exp(lambda g, out: g * out.conj()))
    for name, rule in WRONG.items():
        verdict = decide(case, own_exp(rule))
        assert verdict.outcome is Outcome.FAIL, name


def test_jax_rules_are_judged_by_theirs() -> None:
    """custom_vjp: JAX's cotangents are conjugates of PyTorch's, so a holomorphic rule has no conjugate in it."""

    def with_rule(rule: Callable[[Any, Any], Any]) -> JaxFramework:
        @jax.custom_vjp
        def exp(z: Any) -> Any:
            return jax.numpy.exp(z)

        exp.defvjp(lambda z: (exp(z),) * 2, lambda out, g: (rule(g, out),))
        return JaxFramework(table={"exp": exp})

    case = case_of("exp(z) * z")
    assert decide(case, with_rule(lambda g, out: g * out))
    for rule in (lambda g, out: g * out.conj(), lambda g, out: (g * out).conj(), lambda g, out: (g * out).real + 0j):
        assert decide(case, with_rule(rule)).outcome is Outcome.FAIL


def test_a_real_argument_gets_its_real_part() -> None:
    """What a framework forgets here cannot be seen in the gradient of z, only in that of x."""
    case = case_of("z * x", inputs="{z: {shape: [3], dtype: complex}, x: {shape: [3]}}")
    for subject in SUBJECTS:
        assert decide(case, subject)

    class Abs(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, z: Any, x: Any) -> Any:
            ctx.save_for_backward(z, x)
            return z * x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            z, x = ctx.saved_tensors
            return g * x, (g * z.conj()).abs()

    verdict = decide(case, TorchFramework(table={"multiply": Abs.apply}))
    assert verdict.kind is FailKind.WRONG
    assert {c.of for c in verdict.comparisons if c.failing} == {"dx"}


def test_the_forward_value_counts_as_well() -> None:
    verdict = decide(case_of("exp(z)"), TorchFramework(table={"exp": lambda z: torch.exp(z) * (1 + 1e-9j)}))
    assert verdict.outcome is Outcome.FAIL
    assert any(c.of == "out0" or c.of == "out1" for c in verdict.comparisons if c.failing)


def test_a_function_of_complex_arrays_is_held_against_the_graph() -> None:
    case = case_of("exp(z) * conj(z)")
    assert decide(case, SUBJECTS[1], function=lambda z: torch.exp(z) * z.conj())
    assert decide(case, SUBJECTS[2], function=lambda z: jax.numpy.exp(z) * z.conj())
    assert decide(case, SUBJECTS[1], function=lambda z: torch.exp(z) * z).outcome is Outcome.FAIL
    assert decide(case, SUBJECTS[1], function=lambda z: torch.exp(z) * z.conj().detach()).outcome is Outcome.FAIL


def test_a_function_named_by_the_case_takes_complex_arrays() -> None:
    named = replace(case_of("exp(z)"), function="torch:exp")
    assert decide(named, SUBJECTS[1])
    assert decide(replace(named, function="torch:expm1"), SUBJECTS[1]).outcome is Outcome.FAIL


def test_the_culprit_is_named_with_its_parts() -> None:
    verdict = judge_case(case_of("sin(exp(z) * z) + conj(z)"), own_exp(WRONG["no conjugate"]), Settings())
    assert verdict.culprit is not None
    assert verdict.culprit.op == "exp"
    assert verdict.culprit.argument == 0
    assert "expr: exp(z)" in verdict.culprit.spec
    again = loads(verdict.culprit.spec).cases[0].case("complex128")
    assert decide(again, own_exp(WRONG["no conjugate"])).outcome is Outcome.FAIL
    assert decide(again, SUBJECTS[1])


def test_every_op_by_itself_is_a_case() -> None:
    case = case_of("[abs(exp(z) * x) + 1, fft(z)]", inputs="{z: {shape: [3], dtype: complex}, x: {shape: [3]}}")
    alone = list(suspects(case))
    assert [c.graph.nodes[-1].op for _, c in alone] == ["fft", "add", "abs", "multiply", "exp"]  # type: ignore[union-attr]
    for _, c in alone:
        assert decide(c, SUBJECTS[0])


# ---- what cannot be judged ---------------------------------------------------------------------------------------------


def test_a_pole_and_a_cut() -> None:
    assert decide(case_of("1 / z", inputs="{z: [0+0j]}"), SUBJECTS[0]).reason is Reason.DOMAIN
    assert decide(case_of("log(z)", inputs="{z: [-2+0j]}"), SUBJECTS[0]), "on the cut the value is that from above"


def test_there_is_no_complex_dtype_of_16_bits() -> None:
    case = case_of("exp(z)")
    verdict = decide(replace(case, dtype="float16"), SUBJECTS[1])
    assert verdict.reason is Reason.NO_RULE
    assert "no complex numbers of float16" in verdict.message


def test_a_subject_that_knows_no_complex_numbers_is_asked_nothing() -> None:
    class Real(Framework):
        name, dtypes = "real", ("float64",)

        def unavailable(self) -> None:
            return None

        def function(self, graph: Graph, dtype: str) -> Any:
            raise Unsupported("only reals here")

        def run_vjp(self, *_: Any) -> Any:
            raise AssertionError("it is asked nothing")

    verdict = decide(case_of("exp(z)"), Real())
    assert verdict.reason is Reason.SUBJECT
    assert verdict.message == "only reals here"
    assert "does not say how" in decide(case_of("exp(z)"), Real(), function=lambda z: z).message


def test_pairs_are_joined_in_the_order_of_the_inputs() -> None:
    b = ComplexBuilder()
    z, x, w = b.input("z", (), "complex"), b.input("x", ()), b.input("w", (), "complex")
    graph = b.graph(b.apply("add", b.apply("multiply", z, x), w), b.apply("real", z))
    table: dict[str, Callable[..., Any]] = {"complex": complex, "real": lambda c: c.real, "imag": lambda c: c.imag}
    run = over_pairs(lambda z, x, w: (z * x + w, z.real), graph, table.__getitem__)
    assert run(1.0, 2.0, 10.0, 3.0, 4.0) == (13.0, 24.0, 1.0)


def test_the_real_case_has_everything_twice() -> None:
    case = case_of(
        "[z * x, sum(x)]", "complex64", "{z: [1+2j, 3], x: [0.5, 4.0]}",
        "    cotangent: [[1-1j, 2j], 3]\n    grad: {z: g0 * x, x: real(g0 * conj(z)) + g1}\n",
    )  # fmt: skip
    real = real_case(case)
    assert {n: v.tolist() for n, v in real.values.items()} == {"z.real": [1, 3], "z.imag": [2, 0], "x": [0.5, 4.0]}
    assert [g.tolist() for g in real.cotangent] == [[1, 0], [-1, 2], 3]
    assert all(a.dtype == np.float32 for a in (*real.values.values(), *real.cotangent))
    assert real.wrt == ("z.real", "z.imag", "x")
    assert set(real.claims) == set(real.wrt)
    assert set(real.claims["x"].inputs) >= {"g0", "g1", "g2"}
    assert decide(case, SUBJECTS[0])


def test_a_part_is_rounded_at_the_size_of_the_modulus() -> None:
    """z/z is 1, and its imaginary part 0 as long as nobody rounds; an ulp of the modulus in it is no error of complex
    arithmetic, a thousand are."""
    case = case_of("prod(z, axis=0)", "complex64", "{z: {shape: [1, 3], dtype: complex}}")
    assert case.cotangent[0].size == 3

    class Turned(EngineFramework):
        """The gradient turned by a small angle: of one ulp, or of a thousand."""

        def __init__(self, ulps: float) -> None:
            self.ulps = ulps

        def run_vjp(self, *args: Any) -> Observation:
            seen = super().run_vjp(*args)
            re, im = (np.asarray(seen.gradients[n]) for n in ("z.real", "z.imag"))
            turn = np.float32(self.ulps * 2.0**-24)
            return Observation(seen.outputs, {"z.real": re - turn * im, "z.imag": im + turn * re})

    assert decide(case, Turned(1.0)).outcome is Outcome.PASS
    assert decide(case, Turned(1000.0)).outcome is Outcome.FAIL
