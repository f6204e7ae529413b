"""Complex numbers in spec files: how they are written, what is refused and where, and the way back."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from gradverify.core.case import Case
from gradverify.core.errors import Unsupported
from gradverify.core.graph import Constant
from gradverify.frameworks.engine.adapter import EngineFramework
from gradverify.generate.campaign import seeded_cases
from gradverify.judge.decide import decide
from gradverify.ops.complex.lowering import ComplexBuilder, is_complex
from gradverify.run.plan import spec_jobs
from gradverify.run.runner import Settings
from gradverify.spec import SpecError, canonical, dumps, loads
from gradverify.spec.values import complex_number

HEAD = "gradverify: 1\ncases:\n  - name: n\n"


def case_of(body: str):
    return loads(HEAD + "".join(f"    {line}\n" for line in body.splitlines())).cases[0]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1+2j", 1 + 2j), ("-1.5e-3-2.5e+2j", complex(-1.5e-3, -2.5e2)), ("2j", 2j), ("-.5j", complex(0, -0.5)),
        ("+1-0.j", complex(1, -0.0)),
        ("-0+0j", complex(-0.0, 0.0)), ("1-0j", complex(1.0, -0.0)), (".inf-1j", complex(math.inf, -1)),
    ],
)  # fmt: skip
def test_a_number_and_the_signs_of_its_zeros(text: str, number: complex) -> None:
    got = complex_number(text)
    assert got is not None
    assert [(p, math.copysign(1, p)) for p in (got.real, got.imag)] == [
        (p, math.copysign(1, p)) for p in (number.real, number.imag)
    ]


@pytest.mark.parametrize("text", ["1", "1+2", "1 + 2j", "j", "1+j", "1+2i", "2j+1", "1++2j", "1+2jj", "", "1+2j\n"])
def test_what_is_no_complex_number(text: str) -> None:
    assert complex_number(text) is None


def test_values_make_an_input_complex() -> None:
    spec = case_of("expr: z * x\ninputs: {z: [1+2j, 3, -1j], x: {shape: [3]}}")
    assert spec.inputs["z"].kind == "complex"
    assert spec.inputs["x"].kind == "float"
    assert spec.dtypes == ("complex64", "complex128")
    case = spec.case("complex64")
    assert case.dtype == "float32"
    assert case.values["z"].dtype == np.complex64
    assert case.values["z"].tolist() == [1 + 2j, 3, -1j]
    assert case.values["x"].dtype == np.float32
    assert case.cotangent[0].dtype == np.complex64
    assert case.wrt == ("z", "x")


def test_drawn_parts_lie_in_the_domain_and_differ() -> None:
    spec = case_of("expr: z\ninputs: {z: {shape: [50], dtype: complex, domain: [1, 2]}}")
    z = spec.case("float64").values["z"]
    for part in (z.real, z.imag):
        assert ((part >= 1) & (part <= 2)).all()
    assert not np.allclose(z.real, z.imag)
    usual = case_of("expr: z\ninputs: {z: {shape: [50], dtype: complex}}").case("float64").values["z"]
    assert min(abs(usual.real).min(), abs(usual.imag).min()) >= 0.25


def test_literals_keep_the_signs_of_their_zeros() -> None:
    spec = case_of('expr: "z + (-2 - 0j) + [1j, 2, 3 - 1j]"\ninputs: {z: {shape: [3], dtype: complex}}')
    values = [n.value for n in spec.graph.nodes if isinstance(n, Constant)]
    assert values == [complex(-2, -0.0), (1j, 2 + 0j, 3 - 1j)]
    assert math.copysign(1, values[0].imag) == -1


REFUSED = [
    ("expr: relu(z)", "relu has no meaning for complex numbers"),
    ("expr: sign(z)", "write sgn"),
    ("expr: z > 0", "greater has no meaning"),
    ("expr: rfft(z)", "argument 1 must be float, got complex"),
    ("expr: complex(z, 1)", "argument 1 must be float, got complex"),
    ("expr: conjg(z)", "did you mean 'conj'"),
    ("expr: conjugate(z)", "here it is called 'conj'"),
    ("expr: conj * z", "conj is an op, not an array"),
    ("expr: z\ndtypes: [float16]", "no complex numbers of float16"),
    ("expr: real(z) * x\ngrad: {x: g * z}", "the claim is complex, x is real"),
    ("expr: z\ngrad: {z: z > 1}", "greater has no meaning"),
    ("expr: z\ncotangent: [1+2j, 1+ 2j, 0]", "such as 1+2j"),
    ("expr: real(z)\ncotangent: [1+2j, 1, 0]", "must be a number"),
    ("expr: z * 1e999j", "larger than any double"),
    ("expr: z ** 2000", "an exponent without inputs"),
]


@pytest.mark.parametrize(("body", "message"), REFUSED, ids=[b for b, _ in REFUSED])
def test_what_is_refused(body: str, message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)) as caught:
        case_of(body + "\ninputs: {z: {shape: [3], dtype: complex}, x: {shape: [3]}}")
    assert caught.value.line >= 4


def test_complex_dtypes_need_a_complex_number() -> None:
    with pytest.raises(SpecError, match="no complex number in this case"):
        case_of("expr: x\ninputs: {x: {shape: [3]}}\ndtypes: [complex128]")
    mixed = loads("gradverify: 1\ndefaults: {dtypes: [float64, complex64]}\ncases:\n"
                  "  - {name: a, expr: x, inputs: {x: 1}}\n  - {name: b, expr: z, inputs: {z: 1j}}\n")  # fmt: skip
    assert [c.dtypes for c in mixed.cases] == [("float64",), ("complex128", "complex64")]


def test_overflow_in_complex64_is_an_error_of_the_author() -> None:
    with pytest.raises(SpecError, match="overflows complex64"):
        case_of("expr: z\ninputs: {z: [1+1e39j]}")


def test_a_run_means_the_complex_dtype_by_the_precision() -> None:
    document = loads(
        "gradverify: 1\ncases:\n  - {name: a, expr: x, inputs: {x: 1}}\n  - {name: b, expr: z, inputs: {z: 1j}}\n"
    )

    def jobs(*dtypes: str) -> list[tuple[str, str]]:
        settings = Settings(subjects=("engine",), dtypes=dtypes or None)
        return [(job.id.split("::")[1][0], job.dtype) for job in spec_jobs(document, settings, "f")]

    assert jobs() == [("a", "float32"), ("a", "float64"), ("b", "complex64"), ("b", "complex128")]
    assert jobs("float64") == [("a", "float64"), ("b", "complex128")]
    assert jobs("complex64") == [("b", "complex64")]
    assert jobs("float16") == [("a", "float16")]


def same(a: Case, b: Case) -> None:
    assert a.graph == canonical(b.graph)
    assert a.dtype == b.dtype
    for one, two in [*((a.values[n], b.values[n]) for n in b.values), *zip(a.cotangent, b.cotangent)]:
        assert one.dtype == two.dtype
        assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_a_case_is_written_and_read_back(dtype: str) -> None:
    spec = case_of(
        'expr: ["exp(z) * (2 - 1j) + x @ w", "sum(abs(z - 1j) ** 2, axis=0)", "(1 - 2j) ** z"]\n'
        "inputs: {z: {shape: [2, 2], dtype: complex}, x: {shape: [2, 2]}, w: [[1-0j, -0+2j], [1e-30j, 3]]}\n"
        "grad: {x: real(g0 @ conj(matrix_transpose(w)))}"
    )
    case = spec.case(dtype)
    again = loads(dumps(case)).cases[0]
    same(again.case(dtype), case)
    assert again.dtypes == (dtype,)
    assert again.case(dtype).claims == {"x": case.claims["x"]}


@pytest.mark.parametrize("seed", range(3))
def test_random_complex_cases_are_written_and_read_back(seed: int) -> None:
    for case in seeded_cases(seed, 15, "complex64"):
        same(loads(dumps(case)).cases[0].case("complex64"), case)


def test_an_infinite_literal_cannot_be_written() -> None:
    b = ComplexBuilder()
    z = b.input("z", (), "complex")
    graph = b.graph(b.apply("add", z, b.constant(complex(math.inf, 1.0), "complex")))
    one = np.array(1j)
    with pytest.raises(Unsupported, match="cannot be written"):
        dumps(Case("c", graph, {"z": one}, (one,), "float64", ("z",)))


def test_the_convention_of_claims() -> None:
    """The gradient of |z|^2 is 2z = 2x + 2iy: both partial derivatives, neither conjugated nor halved."""
    for claim, right in (("2 * z", True), ("2 * conj(z)", False), ("z", False)):
        spec = case_of(f"expr: sum(abs(z) ** 2)\ninputs: {{z: [1+2j, -0.5-1j]}}\ngrad: {{z: {claim}}}")
        verdict = decide(spec.case("complex128"), EngineFramework())
        assert bool(verdict) == right
        assert right or str(verdict.kind) == "claim"


def test_a_real_claim_for_a_complex_input_has_no_imaginary_part() -> None:
    spec = case_of("expr: sum(real(z) ** 2)\ninputs: {z: [1+2j, -0.5-1j]}\ngrad: {z: 2 * real(z)}")
    assert decide(spec.case("complex128"), EngineFramework())


def test_cotangents_of_several_outputs_are_named_in_claims() -> None:
    spec = case_of("expr: [z * z, abs(z), z]\ninputs: {z: [1+2j, -0.5-1j]}\n"
                   "grad: {z: 2 * g0 * conj(z) + g1 * z / abs(z) + g2}")  # fmt: skip
    assert decide(spec.case("complex128"), EngineFramework())


def test_a_case_without_complex_inputs_may_be_complex_inside() -> None:
    spec = case_of("expr: rfft(x)\ninputs: {x: {shape: [4]}}")
    assert is_complex(spec.graph)
    assert spec.dtypes == ("complex64", "complex128")
    assert decide(spec.case("complex128"), EngineFramework())
