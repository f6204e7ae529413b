"""The rules for complex operations against mpmath's own complex functions and NumPy's; values, slopes, rounding."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest

from gradverify.core.case import Case
from gradverify.core.errors import Unsupported
from gradverify.core.graph import Graph
from gradverify.judge.budget import budget
from gradverify.namespaces.numpy import NUMPY
from gradverify.namespaces.run import forward
from gradverify.ops.build import GraphBuilder, Recorder, Ref
from gradverify.ops.complex.rules import RULES, Pair, apply, is_complex, paired
from gradverify.oracle.balls import BALLS
from gradverify.oracle.precision import working
from gradverify.oracle.truth import truth

RNG = np.random.default_rng(7)


def recorded(f: Callable[..., Any], *arrays: Any) -> tuple[Graph, dict[str, np.ndarray], bool]:
    """f over (xp, *pairs or arrays) as a graph of inputs `0.re`, `0.im`, …; its values; is the result complex?"""
    builder = GraphBuilder()
    values: dict[str, np.ndarray] = {}

    def entered(name: str, a: np.ndarray) -> Ref:
        values[name] = a
        kind = {"f": "float", "i": "int", "b": "bool"}[a.dtype.kind]
        return Ref(builder, builder.input(name, a.shape, kind))  # type: ignore[arg-type]

    refs: list[Any] = []
    for i, a in enumerate(arrays):
        if np.iscomplexobj(a):
            refs.append(Pair(entered(f"{i}.re", np.real(a).copy()), entered(f"{i}.im", np.imag(a).copy())))
        else:
            refs.append(entered(f"{i}", np.asarray(a)))
    out = f(Recorder(builder), *refs)
    parts = (out.re, out.im) if isinstance(out, Pair) else (out,)
    return builder.graph(*(p.index for p in parts)), values, isinstance(out, Pair)


def computed(f: Callable[..., Any], *arrays: Any) -> np.ndarray:
    """In doubles."""
    graph, values, pair = recorded(f, *arrays)
    with np.errstate(all="ignore"):
        nodes = forward(NUMPY, graph, values, "float64")
    out = [np.asarray(nodes[o], dtype=np.float64) for o in graph.outputs]
    return out[0] + 1j * out[1] if pair else out[0]


def enclosed(f: Callable[..., Any], z: complex, w: complex | None = None) -> mpmath.mpc:
    """At one point, in balls of 200 bits: the midpoints."""
    arrays = [np.array(complex(v)) for v in (z, w) if v is not None]
    graph, values, pair = recorded(f, *arrays)
    with working(200), mpmath.workprec(200):
        BALLS.undecided = 0
        nodes = forward(BALLS, graph, {n: BALLS.asarray(v) for n, v in values.items()}, "float64")
        assert BALLS.undecided == 0
        out = [BALLS.asarray(nodes[o]).item() for o in graph.outputs]
        numbers = [mpmath.mpf(x.mid().str(70, radius=False)) for x in out]
    return mpmath.mpc(*numbers) if pair else mpmath.mpc(numbers[0])


def unary(op: str) -> Callable[..., Any]:
    return lambda xp, z: apply(xp, op, z)


ONE: dict[str, Callable[[Any], Any]] = {
    "abs": abs,
    "angle": mpmath.arg,
    "conj": mpmath.conj,
    "real": mpmath.re,
    "imag": mpmath.im,
    "negative": lambda z: -z,
    "square": lambda z: z * z,
    "reciprocal": lambda z: 1 / z,
    "sgn": lambda z: z / abs(z),
    "exp": mpmath.exp,
    "exp2": lambda z: mpmath.mpf(2) ** z,
    "expm1": mpmath.expm1,
    "log": mpmath.log,
    "log1p": lambda z: mpmath.log(1 + z),
    "log2": lambda z: mpmath.log(z) / mpmath.log(2),
    "log10": lambda z: mpmath.log(z) / mpmath.log(10),
    "sqrt": mpmath.sqrt,
    "rsqrt": lambda z: 1 / mpmath.sqrt(z),
    "sin": mpmath.sin,
    "cos": mpmath.cos,
    "tan": mpmath.tan,
    "sinh": mpmath.sinh,
    "cosh": mpmath.cosh,
    "tanh": mpmath.tanh,
    "asin": mpmath.asin,
    "acos": mpmath.acos,
    "atan": mpmath.atan,
    "asinh": mpmath.asinh,
    "acosh": mpmath.acosh,
    "atanh": mpmath.atanh,
    "sigmoid": lambda z: 1 / (1 + mpmath.exp(-z)),
    "silu": lambda z: z / (1 + mpmath.exp(-z)),
}

GENERAL = [complex(*RNG.normal(size=2)) for _ in range(6)]
EDGES = [0.5 + 1e-9j, -0.5 + 1e-9j, 1e-8 - 2j, 1 + 1e-7j, -1 + 1e-7j, 0.999999 + 1e-7j, 1e-5 + 1e-5j, 0.6 + 0.8j,
         3 + 4j, -30 + 1j, 25 - 2j, 1 + 1j, -1 - 1j, 0.25 + 0j, 1.5j, -0.5j, 2 - 1e-12j, -2 + 1e-12j]  # fmt: skip
DEFINED = {  # where the values on the real axis, or the axis itself, are taken from a side that has no value there
    "atanh": lambda z: z.imag != 0 or abs(z.real) < 1,
    "atan": lambda z: z.real != 0 or abs(z.imag) < 1,
    "asinh": lambda z: z.real != 0 or abs(z.imag) < 1,
}
INEXACT_ZEROS = 1e-45


@pytest.mark.parametrize("op", ONE)
@pytest.mark.parametrize("z", [*GENERAL, *EDGES])
def test_of_one_argument_against_mpmath(op: str, z: complex) -> None:
    if not DEFINED.get(op, lambda z: True)(z):
        pytest.skip("on a cut")
    with mpmath.workprec(200):
        want = mpmath.mpc(ONE[op](mpmath.mpc(z)))
        got = enclosed(unary(op), z)
        assert abs(got - want) <= mpmath.mpf(10) ** -45 * max(abs(want), INEXACT_ZEROS), (got, want)


def _normwise_error(op: Callable[..., Any], want: mpmath.mpc, *at: complex) -> float:
    got = computed(op, *(np.array(z) for z in at)).item()
    return float(abs(mpmath.mpc(got) - want) / abs(want))


@pytest.mark.parametrize("op", sorted(set(ONE) - {"real", "imag", "angle"}))
def test_every_form_is_accurate_normwise(op: str) -> None:
    """In doubles each form is right to a few roundings of the result's modulus: what the budget excuses is not the
    weakness of a formula. 64 roundings cover the forms' lengths; a cancellation shows as thousands."""
    points = [*GENERAL, *EDGES, *(complex(*RNG.normal(size=2) * 3) for _ in range(40))]
    for z in points:
        if not DEFINED.get(op, lambda z: True)(z):
            continue
        with mpmath.workprec(200):
            want = mpmath.mpc(ONE[op](mpmath.mpc(z)))
            assert _normwise_error(unary(op), want, z) <= 64 * 2.0**-53, (op, z)


TWO = {
    "add": lambda z, w: z + w,
    "subtract": lambda z, w: z - w,
    "multiply": lambda z, w: z * w,
    "divide": lambda z, w: z / w,
    "pow": lambda z, w: mpmath.exp(w * mpmath.log(z)),
}


@pytest.mark.parametrize("op", TWO)
def test_of_two_arguments_against_mpmath(op: str) -> None:
    f = lambda xp, z, w: apply(xp, op, z, w)
    for z, w in itertools.product(GENERAL[:3] + EDGES[:6], GENERAL[3:] + EDGES[9:12]):
        with mpmath.workprec(200):
            want = TWO[op](mpmath.mpc(z), mpmath.mpc(w))
            got = enclosed(f, z, w)
            assert abs(got - want) <= mpmath.mpf(10) ** -45 * abs(want)


@pytest.mark.parametrize("w", [0, 1, 2, 3, 5, -1, -3, 0.5, -0.5, 1.7, -2.3, 2 + 0j, 1.5 - 0.5j])
def test_powers_with_a_literal_exponent(w: complex) -> None:
    for z in [*GENERAL, 0.3 + 0.1j, -2 + 1e-12j]:
        with mpmath.workprec(200):
            want = mpmath.mpc(z) ** mpmath.mpmathify(w)
            got = enclosed(lambda xp, z: apply(xp, "pow", z, w), z)
            assert abs(got - want) <= mpmath.mpf(10) ** -45 * abs(want)


def test_an_integer_power_is_smooth_on_the_negative_axis_and_at_zero() -> None:
    graph, values, _ = recorded(lambda xp, z: apply(xp, "pow", z, 3), np.array([-2 + 0j, 0j]))
    found = truth(graph, values, (np.ones(2), np.zeros(2)), tuple(values), "float64")
    assert not found.kinks
    np.testing.assert_array_equal(found.gradients["0.re"].hi, [12.0, 0.0])


@pytest.mark.parametrize(
    ("op", "z"),
    [("log", -2 + 0j), ("sqrt", -2 + 0j), ("acos", 2 + 0j), ("asin", -2 + 0j), ("atan", 2j), ("acosh", 0.5 + 0j),
     ("atanh", 2 + 0j), ("pow", -2 + 0j), ("angle", -1 + 0j)],
)  # fmt: skip
def test_a_point_on_a_cut_is_a_kink(op: str, z: complex) -> None:
    f = (lambda xp, z: apply(xp, "pow", z, 0.3)) if op == "pow" else unary(op)
    graph, values, pair = recorded(f, np.array(z))
    found = truth(graph, values, (np.ones(()),) * (1 + pair), tuple(values), "float64")
    assert found.kinks


@pytest.mark.parametrize("op", ["exp", "sin", "tanh", "square", "sigmoid", "asinh", "expm1", "log1p", "reciprocal"])
def test_no_kink_where_nothing_is_cut(op: str) -> None:
    """Real and imaginary points, zero where smooth, equal parts: what natural inputs look like."""
    points = np.array([0.5 + 0j, 0.5j, 1 + 1j, -1 + 1j, -0.5 - 0.5j] + ([0j] if op != "reciprocal" else []))
    graph, values, _ = recorded(unary(op), points)
    found = truth(graph, values, (np.ones(points.shape),) * 2, tuple(values), "float64")
    assert not found.kinks
    assert not found.suspects
    assert found.unresolved < 1e-18


ARRAYS: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "sum": (lambda xp, z: apply(xp, "sum", z, axis=1, keepdims=True), lambda z: z.sum(1, keepdims=True), ((3, 4),)),
    "mean": (lambda xp, z: apply(xp, "mean", z), np.mean, ((3, 4),)),
    "prod": (lambda xp, z: apply(xp, "prod", z, axis=1), lambda z: z.prod(1), ((3, 5),)),
    "prod of all": (lambda xp, z: apply(xp, "prod", z, keepdims=True), lambda z: z.prod(keepdims=True), ((3, 2),)),
    "prod of none": (lambda xp, z: apply(xp, "prod", z, axis=1), lambda z: z.prod(1), ((3, 0),)),
    "cumsum": (lambda xp, z: apply(xp, "cumulative_sum", z, axis=0), lambda z: z.cumsum(0), ((3, 4),)),
    "cumprod": (lambda xp, z: apply(xp, "cumulative_prod", z, axis=-1), lambda z: z.cumprod(-1), ((2, 7),)),
    "var": (lambda xp, z: apply(xp, "var", z, axis=0, correction=1.0), lambda z: z.var(0, ddof=1), ((5, 2),)),
    "std": (lambda xp, z: apply(xp, "std", z, axis=0), lambda z: z.std(0), ((5, 2),)),
    "norm": (lambda xp, z: apply(xp, "vector_norm", z, axis=-1), lambda z: np.linalg.norm(z, axis=-1), ((3, 4),)),
    "norm kept": (lambda xp, z: apply(xp, "vector_norm", z, axis=0, keepdims=True),
                  lambda z: np.linalg.norm(z, axis=0, keepdims=True), ((3, 4),)),
    "norm 1": (lambda xp, z: apply(xp, "vector_norm", z, ord=1.0), lambda z: np.abs(z).sum(), ((3, 4),)),
    "matmul": (lambda xp, z, w: apply(xp, "matmul", z, w), np.matmul, ((2, 3, 4), (4, 2))),
    "outer": (lambda xp, z, w: apply(xp, "outer", z, w), np.outer, ((3,), (2,))),
    "vecdot": (lambda xp, z, w: apply(xp, "vecdot", z, w), np.vecdot, ((2, 3), (2, 3))),
    "tensordot": (lambda xp, z, w: apply(xp, "tensordot", z, w, axes=1), lambda z, w: np.tensordot(z, w, 1),
                  ((2, 3), (3, 2))),
    "cross": (lambda xp, z, w: apply(xp, "cross", z, w), np.cross, ((2, 3), (2, 3))),
    "einsum": (lambda xp, z, w: apply(xp, "einsum", "ij,kj->ik", z, w), lambda z, w: np.einsum("ij,kj->ik", z, w),
               ((2, 3), (4, 3))),
    "einsum of one": (lambda xp, z: apply(xp, "einsum", "ii->i", z), lambda z: np.einsum("ii->i", z), ((3, 3),)),
    "einsum of three": (lambda xp, z, w, v: apply(xp, "einsum", "ij,jk,k->i", z, w, v),
                        lambda z, w, v: np.einsum("ij,jk,k->i", z, w, v), ((2, 3), (3, 4), (4,))),
    "trace": (lambda xp, z: apply(xp, "trace", z), np.trace, ((3, 3),)),
    "tril": (lambda xp, z: apply(xp, "tril", z, k=-1), lambda z: np.tril(z, -1), ((3, 3),)),
    "matrix_transpose": (lambda xp, z: apply(xp, "matrix_transpose", z), np.matrix_transpose, ((2, 3),)),
    "matrix_power": (lambda xp, z: apply(xp, "matrix_power", z, n=5), lambda z: np.linalg.matrix_power(z, 5), ((3, 3),)),
    "concat": (lambda xp, z, w: apply(xp, "concat", [z, w], axis=0), lambda z, w: np.concatenate([z, w]), ((2, 3), (1, 3))),
    "stack": (lambda xp, z, w: apply(xp, "stack", [z, w], axis=1), lambda z, w: np.stack([z, w], 1), ((2, 3), (2, 3))),
    "reshape": (lambda xp, z: apply(xp, "reshape", z, (3, 2)), lambda z: z.reshape(3, 2), ((2, 3),)),
    "inv": (lambda xp, z: apply(xp, "inv", z), np.linalg.inv, ((2, 3, 3),)),
    "solve": (lambda xp, z, w: apply(xp, "solve", z, w), np.linalg.solve, ((3, 3), (3, 2))),
    "solve vector": (lambda xp, z, w: apply(xp, "solve", z, w), np.linalg.solve, ((3, 3), (3,))),
    "det 1": (lambda xp, z: apply(xp, "det", z), np.linalg.det, ((2, 1, 1),)),
    "det 2": (lambda xp, z: apply(xp, "det", z), np.linalg.det, ((2, 2, 2),)),
    "det 3": (lambda xp, z: apply(xp, "det", z), np.linalg.det, ((3, 3),)),
    "det 4": (lambda xp, z: apply(xp, "det", z), np.linalg.det, ((4, 4),)),
    "det 5": (lambda xp, z: apply(xp, "det", z), np.linalg.det, ((5, 5),)),
    "cholesky": (lambda xp, z: apply(xp, "cholesky", apply(xp, "matmul", z, apply(
        xp, "matrix_transpose", apply(xp, "conj", z)))), lambda z: np.linalg.cholesky(z @ np.conj(z).swapaxes(-1, -2)),
                 ((2, 3, 3),)),
    "logabsdet": (lambda xp, z: apply(xp, "logabsdet", z), lambda z: np.log(abs(np.linalg.det(z))), ((2, 3, 3),)),
    "linear": (lambda xp, z, w, b: apply(xp, "linear", z, w, b), lambda z, w, b: z @ w.T + b, ((2, 3), (4, 3), (4,))),
    "polar": (lambda xp, z: apply(xp, "polar", z.re, z.im), lambda z: z.real * np.exp(1j * z.imag), ((3,),)),
    "complex": (lambda xp, z: apply(xp, "complex", z.re, z.im), lambda z: z, ((3,),)),
    "lerp": (lambda xp, z, w: apply(xp, "lerp", z, w, 0.25), lambda z, w: z + 0.25 * (w - z), ((3,), (3,))),
    "addcmul": (lambda xp, z, w: apply(xp, "addcmul", z, w, w, value=0.5), lambda z, w: z + 0.5 * w * w, ((3,), (3,))),
    "operators": (lambda xp, z, w: (2j * z - 1) / w + 3 * (1 - z) ** 2 - -w @ w / 2,
                  lambda z, w: (2j * z - 1) / w + 3 * (1 - z) ** 2 - -w @ w / 2, ((3,), (3,))),
}  # fmt: skip


@pytest.mark.parametrize("name", ARRAYS)
def test_of_arrays_against_numpy(name: str) -> None:
    f, g, shapes = ARRAYS[name]
    arrays = [RNG.normal(size=s) + 1j * RNG.normal(size=s) for s in shapes]
    want = g(*arrays)
    np.testing.assert_allclose(computed(f, *arrays), want, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("op", ["matmul", "add", "subtract", "multiply", "divide", "einsum", "solve", "concat"])
@pytest.mark.parametrize("real", [0, 1])
def test_a_real_operand_is_welcome(op: str, real: int) -> None:
    arrays: list[Any] = [RNG.normal(size=(3, 3)) + 1j * RNG.normal(size=(3, 3)) for _ in range(2)]
    arrays[real] = arrays[real].real
    f = {
        "einsum": lambda xp, z, w: apply(xp, "einsum", "ij,jk->ik", z, w),
        "concat": lambda xp, z, w: apply(xp, "concat", [z, w], axis=0),
    }.get(op, lambda xp, z, w: apply(xp, op, z, w))
    g = {"einsum": np.matmul, "concat": lambda z, w: np.concatenate([z, w]), "solve": np.linalg.solve}.get(op)
    want = (g or getattr(np, op))(*arrays)
    np.testing.assert_allclose(computed(f, *arrays), want, rtol=1e-12)


def test_arguments_broadcast() -> None:
    z, x = RNG.normal(size=(3, 1)) + 1j, RNG.normal(size=(4,))
    for op in ("add", "subtract", "multiply", "divide"):
        f = lambda xp, z, x, op=op: apply(xp, op, z, x)
        np.testing.assert_allclose(computed(f, z, x), getattr(np, op)(z, x), rtol=1e-13)
        np.testing.assert_allclose(computed(lambda xp, x, z, f=f: f(xp, x, z), x, z), getattr(np, op)(x, z), rtol=1e-13)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 8, 12, 15, 16, 7 * 4, 64])
@pytest.mark.parametrize("norm", [None, "ortho", "forward"])
def test_fourier_transforms_against_numpy(n: int, norm: Any) -> None:
    z = RNG.normal(size=(2, n)) + 1j * RNG.normal(size=(2, n))
    for op in ("fft", "ifft"):
        got = computed(lambda xp, z, op=op: apply(xp, op, z, norm=norm), z)
        np.testing.assert_allclose(got, getattr(np.fft, op)(z, norm=norm), rtol=1e-12, atol=1e-13)
    got = computed(lambda xp, x: apply(xp, "rfft", x, norm=norm), z.real.copy())
    np.testing.assert_allclose(got, np.fft.rfft(z.real, norm=norm), rtol=1e-12, atol=1e-13)
    for size in {n, 2 * n - 1 if n < 32 else 2 * n - 2}:
        got = computed(lambda xp, z, size=size: apply(xp, "irfft", z, n=size, norm=norm), z)
        np.testing.assert_allclose(got, np.fft.irfft(z, n=size, norm=norm), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("op", ["fftn", "ifftn", "rfftn", "irfftn", "fft2", "ifft2", "rfft2", "irfft2"])
def test_fourier_transforms_of_several_axes(op: str) -> None:
    z: Any = RNG.normal(size=(2, 3, 4)) + (1j * RNG.normal(size=(2, 3, 4)) if not op.startswith("r") else 0)
    got = computed(lambda xp, z: apply(xp, op, z), z)
    np.testing.assert_allclose(got, getattr(np.fft, op)(z), rtol=1e-12, atol=1e-13)
    got = computed(lambda xp, z: apply(xp, op, z, s=(4, 2), axes=(0, 1)), z)
    np.testing.assert_allclose(got, getattr(np.fft, op)(z, s=(4, 2), axes=(0, 1)), rtol=1e-12, atol=1e-13)


def test_shifts_of_a_spectrum() -> None:
    z = RNG.normal(size=(3, 4)) + 1j
    for op in ("fftshift", "ifftshift"):
        np.testing.assert_array_equal(computed(lambda xp, z, op=op: apply(xp, op, z), z), getattr(np.fft, op)(z))


def test_a_fourier_transform_is_exact_in_balls() -> None:
    """The angles are ops, not literals: a length of 12 has twiddles that no double holds."""
    z = RNG.normal(size=12) + 1j * RNG.normal(size=12)
    graph, values, _ = recorded(lambda xp, z: apply(xp, "fft", z), z)
    with working(200), mpmath.workprec(200):
        nodes = forward(BALLS, graph, {n: BALLS.asarray(v) for n, v in values.items()}, "float64")
        for k in range(12):
            want = mpmath.fsum(mpmath.mpc(v) * mpmath.expjpi(mpmath.mpf(-2 * j * k) / 12) for j, v in enumerate(z))
            got = [mpmath.mpf(BALLS.asarray(nodes[o])[k].mid().str(70, radius=False)) for o in graph.outputs]
            assert abs(mpmath.mpc(*got) - want) < mpmath.mpf(10) ** -45


def test_a_large_prime_is_refused() -> None:
    with pytest.raises(Unsupported, match="prime factor 67"):
        recorded(lambda xp, z: apply(xp, "fft", z), np.ones(67) + 0j)


def test_what_has_no_rule_is_refused() -> None:
    with pytest.raises(Unsupported, match="floor of complex numbers"):
        recorded(lambda xp, z: apply(xp, "floor", z), np.ones(2) + 0j)


def test_a_large_determinant_is_refused() -> None:
    with pytest.raises(Unsupported, match="above 5 by 5"):
        recorded(lambda xp, z: apply(xp, "det", z), np.ones((6, 6)) + 0j)


def test_literals_are_pairs_too() -> None:
    assert is_complex(1j)
    assert not is_complex(1.0)
    assert (paired(None, 2j).im, paired(None, 3.0).im) == (2.0, 0.0)


# ---- rounding -----------------------------------------------------------------------------------------------------------


def _budgets(f: Callable[..., Any], *arrays: Any) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    graph, values, _ = recorded(f, *arrays)
    wrt = tuple(n for n in values if graph.nodes[graph.inputs[n]].kind == "float")
    cotangent = tuple(np.ones(graph.nodes[o].shape) for o in graph.outputs)
    t = truth(graph, values, cotangent, wrt, "float64")
    found = budget(Case("c", graph, values, cotangent, "float64", wrt), tuple(e.resolved for e in t.outputs),
                   {n: e.resolved for n, e in t.gradients.items()})  # fmt: skip
    array = lambda a: np.asarray(getattr(a, "budget", a))
    return [array(a) for a in found.outputs], {n: array(a) for n, a in found.gradients.items()}


@pytest.mark.parametrize(
    ("f", "z", "peer"),
    [
        (lambda xp, z: apply(xp, "pow", z, 3), -2 + 0j, lambda z: np.exp(3 * np.log(z))),
        (lambda xp, z: apply(xp, "pow", z, 12), -1.5 + 0j, lambda z: np.exp(12 * np.log(z))),
        (lambda xp, z: apply(xp, "reciprocal", z), 4j, lambda z: np.exp(-np.log(z))),
    ],
)
def test_a_part_that_is_zero_may_be_rounded_at_the_size_of_the_other(f: Any, z: complex, peer: Any) -> None:
    """exp(w log z) is as good a power as a product, and is off by 1e-15 where the product has an exact 0."""
    outputs, gradients = _budgets(f, np.array(z))
    out = computed(f, np.array(z))
    off = peer(np.complex128(z)) - out
    assert abs(off) > 0
    assert max(abs(off.real) / outputs[0], abs(off.imag) / outputs[1]) <= 1
    for b in (*outputs, *gradients.values()):
        assert ((2.0**-53 * abs(out) <= b) & (b <= 2.0**-40 * abs(out))).all()


def test_a_product_is_rounded_at_the_size_of_its_terms() -> None:
    """ac - bd with ac = bd = 0 is 0 in every library: nothing is excused there."""
    (re, im), _ = _budgets(lambda xp, z, w: apply(xp, "multiply", z, w), np.array(2 + 0j), np.array(3j))
    assert re < 1e-25 < 1e-17 < im


def test_the_rounding_of_a_pair_is_no_value() -> None:
    """(y·3/4)/(3/4) - y is 0, to the last bit that a ball of an inexact y shows."""
    z = enclosed(lambda xp, z: apply(xp, "reciprocal", z), 2 + 0j)
    assert z == mpmath.mpc(0.5, 0)


def test_every_rule_is_seen_here_or_moves_entries() -> None:
    tried = {*ONE, *TWO, *ARRAYS, "fft", "ifft", "rfft", "irfft", "dft", "fftshift", "ifftshift", "sign",
             "fftn", "ifftn", "rfftn", "irfftn", "fft2", "ifft2", "rfft2", "irfft2", "vector_norm",
             "cumulative_sum", "cumulative_prod", "det"}  # fmt: skip
    moved = set(
        "permute_dims moveaxis expand_dims squeeze broadcast_to flip roll repeat tile pad triu diagonal diag_embed getitem "
        "embed take take_along_axis im2col col2im avg_pool2d adaptive_avg_pool2d index_add scatter_add where equal "
        "not_equal conv2d solve_triangular".split()
    )
    assert set(RULES) - tried - moved == set()
