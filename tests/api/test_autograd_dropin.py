"""gradverify.autograd: HIPS autograd's check_grads, answered by the judge."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

autograd = pytest.importorskip("autograd")

import autograd.numpy as anp  # noqa: E402
import scipy.special  # noqa: E402
from autograd import test_util  # noqa: E402
from autograd.builtins import dict as boxed_dict  # noqa: E402
from autograd.builtins import list as boxed_list  # noqa: E402
from autograd.builtins import tuple as boxed_tuple  # noqa: E402
from autograd.core import vspace  # noqa: E402
from autograd.extend import defjvp, defvjp, primitive  # noqa: E402

from gradverify import Outcome, check  # noqa: E402
from gradverify.autograd import Undecided, check_grads, combo_check  # noqa: E402
from gradverify.core.errors import Unsupported  # noqa: E402
from gradverify.frameworks.recognise import trace  # noqa: E402

RNG = np.random.default_rng(3)
M = RNG.normal(size=(3, 5))
Z = RNG.normal(size=4) + 1j * RNG.normal(size=4)


def rule(fun: Any, vjp: Any, jvp: Any = None) -> Any:
    """A primitive with this VJP (g, x) -> gradient, and JVP."""
    made = primitive(fun)
    defvjp(made, lambda ans, x: lambda g: vjp(g, x))
    if jvp is not None:
        defjvp(made, lambda g, ans, x: jvp(g, x))
    return made


MIXED = vspace({"x": [0.0, M[:, :1]], "y": ({"a": 0.0}, [0.0])})

energy = primitive(lambda p: p["k"] * np.sum(p["v"] ** 2))
defvjp(energy, lambda ans, p: lambda g: boxed_dict({"v": 2 * g * p["k"] * p["v"], "k": g * anp.sum(p["v"] ** 2)}))
defjvp(energy, lambda t, ans, p: 2 * p["k"] * anp.dot(p["v"], t["v"]) + t["k"] * anp.sum(p["v"] ** 2))

half_energy = primitive(lambda p: p["k"] * np.sum(p["v"] ** 2))
defvjp(half_energy, lambda ans, p: lambda g: boxed_dict({"v": g * p["k"] * p["v"], "k": g * anp.sum(p["v"] ** 2)}))


RIGHT: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "a Python float": (lambda x: x * anp.exp(-x), (0.7,)),
    "a Python complex number": (lambda z: anp.sin(z) * z, (0.7 - 0.2j,)),
    "float to complex": (lambda x: anp.exp(1j * x), (0.3,)),
    "a tuple": (lambda p: p[0] * anp.sin(p[1]), ((RNG.normal(size=3), 2.0),)),
    "a list of lists": (lambda p: p[0][1] * p[1], ([[1.5, 2.5], 0.3],)),
    "a dict": (lambda p: anp.dot(p["w"], p["x"]) + p["b"], ({"w": M, "x": M[0], "b": 0.5},)),
    "returns a boxed tuple": (lambda x: boxed_tuple((x**2, anp.sum(x))), (M[0],)),
    "returns a boxed list": (lambda x: boxed_list([x[0] * x[1], x]), (M[0],)),
    "returns a boxed dict": (lambda x: boxed_dict({"a": anp.tanh(x), "b": x[0]}), (M[0],)),
    "singular values and vectors": (lambda a: boxed_tuple(anp.linalg.svd(a, full_matrices=False)), (M,)),
    "slogdet": (lambda a: anp.linalg.slogdet(anp.dot(a, a.T))[1], (M,)),
    "conjugate": (lambda z: anp.conj(z) * z**2, (Z,)),
    "parts": (lambda z: anp.real(z) * anp.imag(z) + anp.real(z), (Z,)),
    "a real function of complex numbers": (lambda z: anp.sum(anp.abs(z) ** 3), (Z,)),
    "angle": (lambda z: anp.angle(z), (Z,)),
    "cross along the first axis": (lambda x: anp.cross(x, M[:, :2], axisa=0, axisb=0, axisc=0), (M[:, 3:],)),
    "einsum with lists": (lambda x: anp.einsum(x, [0, 1], M, [2, 1], [0, 2]), (M,)),
    "a tuple within an argument, as one of a primitive": (lambda p: anp.append(p[0], p[1]), (([1.0, 2.0], [0.5]),)),
    "kron": (lambda x: anp.kron(x, M[:2, :2]), (M[:, :2],)),
    "the sum of two dicts, a method of autograd's vector space": (MIXED.add, (MIXED.ones(), MIXED.randn())),
    "the inner product of two dicts": (MIXED.inner_prod, (MIXED.randn(), MIXED.randn())),
    "a number times a dict": (MIXED.scalar_mul, (MIXED.randn(), 0.7)),
    "a dict within a list, as one of a vector space": (
        lambda p: vspace([{"a": 1.0}]).inner_prod(p, p), ([{"a": 0.4}],)),
    "a primitive of a dict": (lambda p: energy(p) ** 2, ({"v": M[0], "k": 0.3},)),
}  # fmt: skip

NO_FORWARD_RULE = {"returns a boxed dict", "a primitive of a dict", "singular values and vectors", "slogdet"}


@pytest.mark.parametrize("name", RIGHT)
def test_right_functions_pass_both_orders_and_modes(name: str) -> None:
    f, args = RIGHT[name]
    modes = ["rev"] if name in NO_FORWARD_RULE else None
    assert check_grads(f, range(len(args)), modes, effort="quick")(*args) is None


@pytest.mark.parametrize("transform", ["fft", "ifft", "fft2", "ifft2", "fftn", "ifftn"])
@pytest.mark.parametrize("norm", [None, "ortho"])
def test_fourier_transforms_of_complex_arrays_have_graphs(transform: str, norm: str | None) -> None:
    f = getattr(np.fft, transform)
    found = trace(lambda z: f(z, norm=norm), M[:, :4] + 1j * M[:, 1:], options={"framework": "autograd"})
    assert found.graph is not None  # which holds it against the function at a point nearby as well
    if norm is None:
        check_grads(getattr(anp.fft, transform), modes=["rev"], effort="quick")(M[:, :4] + 1j * M[:, 1:])


@pytest.mark.parametrize("transform", ["fft", "rfft", "rfft2", "rfftn", "fftshift", "ifftshift"])
def test_fourier_transforms_of_real_arrays(transform: str) -> None:
    check_grads(getattr(anp.fft, transform), modes=["rev"], effort="quick")(M[:, :4])


@pytest.mark.parametrize("transform", ["irfft", "irfft2", "irfftn"])
def test_fourier_transforms_to_real_arrays_have_graphs(transform: str) -> None:
    found = trace(getattr(np.fft, transform), M[:, :4] + 1j * M[:, 1:], options={"framework": "autograd"})
    assert found.graph is not None


WRONG: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "a sign, of a Python float": (rule(np.cos, lambda g, x: g * anp.sin(x)), (0.7,)),
    "without conjugate": (rule(lambda z: np.conj(z) * 2, lambda g, z: 2 * g), (Z,)),
    "the real part's gradient alone": (rule(lambda z: z * z, lambda g, z: anp.real(2 * g * z) + 0j), (Z,)),
    "a term of an output in a tuple": (
        lambda x: boxed_tuple((rule(np.sinh, lambda g, x: g * anp.cosh(x[::-1]))(x), x)), (M[0],)),
    "an entry of a list": (lambda p: rule(np.exp, lambda g, x: g * x)(p[1]) + p[0], ([M[0], M[1]],)),
    "a primitive of a dict, without its factor of two": (half_energy, ({"v": M[0], "k": 0.3},)),
    "of a value in a dict": (lambda p: rule(np.square, lambda g, x: g * x)(p["w"]), ({"w": M[0]},)),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_rules_fail(name: str) -> None:
    f, args = WRONG[name]
    with pytest.raises(AssertionError, match="FAIL") as e:
        check_grads(f, modes=["rev"], order=1, effort="quick")(*args)
    assert not isinstance(e.value, Undecided)


def test_a_wrong_jvp_fails_in_forward_mode_alone() -> None:
    f = rule(np.sin, lambda g, x: g * anp.cos(x), jvp=lambda g, x: g * anp.cos(2 * x))
    check_grads(f, modes=["rev"], order=1, effort="quick")(M[0])
    with pytest.raises(AssertionError, match="order 1, fwd"):
        check_grads(f, modes=["fwd"], order=1, effort="quick")(M[0])


def test_a_wrong_first_order_fails_at_the_default_order() -> None:
    """A VJP that is linear in x and wrong: its own derivative is right."""
    with pytest.raises(AssertionError, match="order 1, rev"):
        check_grads(rule(np.square, lambda g, x: 3 * g * x), effort="quick", modes=["rev"])(M[0])


def test_a_wrong_second_order_fails_at_order_two() -> None:
    cut = rule(lambda x: 2 * x, lambda g, x: 3 * g)
    f = rule(np.square, lambda g, x: g * cut(x))
    check_grads(f, modes=["rev"], order=1, effort="quick")(M[0])
    with pytest.raises(AssertionError, match="order 2, rev over rev"):
        check_grads(f, modes=["rev"], order=2, effort="quick")(M[0])


def test_argnum_says_what_is_differentiated() -> None:
    half_wrong = primitive(lambda x, y: x * y)
    defvjp(half_wrong, lambda ans, x, y: lambda g: g * y, lambda ans, x, y: lambda g: g)
    check_grads(half_wrong, 0, modes=["rev"], order=1, effort="quick")(2.0, 3.0)
    for argnum in (1, (0, 1)):
        with pytest.raises(AssertionError, match="FAIL"):
            check_grads(half_wrong, argnum, modes=["rev"], order=1, effort="quick")(2.0, 3.0)


def test_arguments_that_are_not_differentiated_keep_their_type() -> None:
    seen = []
    check_grads(lambda x, n: seen.append(type(n)) or x**n, order=1, effort="quick")(2.5, 3)
    assert set(seen) == {int}


def test_what_the_function_raises_is_passed_on() -> None:
    with pytest.raises(ZeroDivisionError):
        check_grads(lambda x: x / 0, effort="quick")(1)

    def writing(x: Any) -> Any:
        y = x * 1.0
        y[0] = 1.0
        return y

    with pytest.raises(TypeError, match="item assignment"):  # of boxes, when it is differentiated
        check_grads(writing, effort="quick")(np.ones(2))
    with pytest.raises(KeyError, match="on purpose"):
        check_grads(rule(np.sin, lambda g, x: {}["on purpose"]), modes=["rev"], effort="quick")(M[0])
    with pytest.raises(AssertionError, match="modes are"):
        check_grads(anp.sin, modes=["backward"])


def test_what_cannot_be_judged_does_not_pass() -> None:
    """fft has no forward rule in autograd."""
    with pytest.raises(Unsupported, match="JVP of fft"):
        check_grads(anp.fft.fft, effort="quick")(M[0])


def test_combinations_of_arguments() -> None:
    calls = []

    def f(x: Any, y: Any, axis: Any) -> Any:
        calls.append(axis)
        return anp.sum(x * y, axis=axis)

    combo_check(f, [0, 1], modes=["rev"], order=1, effort="quick")([M, 2 * M], [M], axis=[None, 0])
    assert {None, 0} == set(calls)


J0 = primitive(lambda x: scipy.special.j0(x))
defvjp(J0, lambda ans, x: lambda g: -g * J1(x))
defjvp(J0, lambda g, ans, x: -g * J1(x))
J1 = primitive(lambda x: scipy.special.j1(x))
defvjp(J1, lambda ans, x: lambda g: g * (J0(x) - J1(x) / x))
defjvp(J1, lambda g, ans, x: g * (J0(x) - J1(x) / x))
"""Bessel functions, of which the op table has none: differences judge them in every composition."""


def test_functions_without_a_graph_pass_both_orders_and_modes() -> None:
    check_grads(J0, effort="quick")(RNG.uniform(0.5, 3, 3))


@pytest.mark.parametrize(
    ("modes", "what"), [(["fwd"], "order 1, fwd"), (["rev"], "order 1, rev"), (["rev", "fwd"], "order 1, rev")]
)
def test_wrong_functions_without_a_graph_fail(modes: list[str], what: str) -> None:
    wrong = primitive(lambda x: scipy.special.j0(x))
    defvjp(wrong, lambda ans, x: lambda g: -1.0001 * g * J1(x))
    defjvp(wrong, lambda g, ans, x: -1.0001 * g * J1(x))
    with pytest.raises(AssertionError, match=what):
        check_grads(wrong, modes=modes, order=1, effort="quick")(RNG.uniform(0.5, 3, 3))


@pytest.mark.parametrize(("mode", "what"), [("rev", "rev over rev"), ("fwd", "fwd over fwd")])
def test_a_wrong_second_order_without_a_graph_fails(mode: str, what: str) -> None:
    slope = primitive(lambda x: scipy.special.j1(x))
    defvjp(slope, lambda ans, x: lambda g: g * (J0(x) - 1.001 * J1(x) / x))
    defjvp(slope, lambda g, ans, x: g * (J0(x) - 1.001 * J1(x) / x))
    f = primitive(lambda x: scipy.special.j0(x))
    defvjp(f, lambda ans, x: lambda g: -g * slope(x))
    defjvp(f, lambda g, ans, x: -g * slope(x))
    point = RNG.uniform(0.5, 3, 3)
    check_grads(f, modes=[mode], order=1, effort="quick")(point)
    with pytest.raises(AssertionError, match=f"order 2, {what}"):
        check_grads(f, modes=[mode], order=2, effort="quick")(point)


KINKS: dict[str, tuple[Any, np.ndarray]] = {
    "the largest entry": (anp.max, np.array([0.3, -1.2, 2.0])),
    "one of two largest": (anp.max, np.array([1.0, 1.0, 0.0])),
    "log-sum-exp, which subtracts the largest": (
        lambda x: anp.log(anp.sum(anp.exp(x - anp.max(x)))) + anp.max(x), np.array([0.5, 2.0, 2.0])),
    "abs at 0": (anp.abs, np.array([0.0, 1.0])),
    "a kink that is none": (lambda x: anp.maximum(x, 0) - anp.maximum(-x, 0), np.array([0.0, 1.0])),
}  # fmt: skip


@pytest.mark.parametrize("name", KINKS)
def test_jvps_at_kinks_of_the_graph(name: str) -> None:
    f, x = KINKS[name]
    check_grads(f, modes=["fwd"], order=1, effort="quick")(x)


def test_wrong_jvps_at_kinks_of_the_graph() -> None:
    """Where the composed function is smooth it has one slope; beside a kink the other entries have theirs."""
    softmax = lambda g, x: np.sum(g * np.exp(x) / np.sum(np.exp(x)))
    smooth = rule(
        lambda x: np.log(np.sum(np.exp(x - np.max(x)))) + np.max(x), None, jvp=lambda g, x: 1.01 * softmax(g, x)
    )
    beside = rule(np.abs, None, jvp=lambda g, x: g * x)
    for f, x in ((smooth, np.array([0.5, 2.0, 2.0])), (beside, np.array([0.0, 3.0]))):
        with pytest.raises(AssertionError, match="FAIL") as e:
            check_grads(f, modes=["fwd"], order=1, effort="quick")(x)
        assert not isinstance(e.value, Undecided)
    outside = rule(np.abs, None, jvp=lambda g, x: g * np.where(x == 0, 2.0, np.sign(x)))
    with pytest.raises(AssertionError, match="FAIL"):
        check_grads(outside, modes=["fwd"], order=1, effort="quick")(np.array([0.0, 3.0]))


@pytest.mark.parametrize("axis", [None, 0, (0, 1)])
@pytest.mark.parametrize("name", ["max", "min"])
def test_extremes_of_complex_numbers_are_traced(name: str, axis: Any) -> None:
    """NumPy orders them by their real part, and by the imaginary part among those of one real part."""
    z = np.array([[1 + 2j, -1 + 0.5j, 0.3 - 1j], [0.7 + 1j, 2 - 1j, 0.4 + 4j]])
    f = lambda z: getattr(anp, name)(z, axis=axis) * (1 + 2j)
    verdict = check(f, z, order=1, effort="quick")
    assert verdict.outcome is Outcome.PASS, verdict.text()
    assert not any("no definition" in note for note in verdict.notes)
    check_grads(f, effort="quick")(z)


@pytest.mark.parametrize("size", [3, 5])
def test_what_a_second_derivative_raises_is_the_callers(size: int) -> None:
    """autograd has no gradient of rfft for odd lengths, which only the second derivative comes to."""
    x = np.linspace(0.1, 1.0, size)
    for check_ in (test_util.check_grads, check_grads):
        with pytest.raises(NotImplementedError, match="odd length"):
            check_(anp.fft.rfftn, modes=["rev"])(x)


def test_what_a_rule_raises_when_it_is_differentiated_is_the_callers() -> None:
    @primitive  # type: ignore[untyped-decorator]
    def cube(x: Any) -> Any:
        return x**3

    def refuse(ans: Any, *args: Any) -> Any:
        raise KeyError("no second rule")

    @primitive  # type: ignore[untyped-decorator]
    def slope(g: Any, x: Any) -> Any:
        return 3 * g * x**2

    defvjp(cube, lambda ans, x: lambda g: slope(g, x))
    defvjp(slope, refuse, refuse)
    for check_ in (test_util.check_grads, check_grads):
        with pytest.raises(KeyError, match="no second rule"):
            check_(cube, modes=["rev"])(1.5)
    check_grads(cube, modes=["rev"], order=1)(1.5)
