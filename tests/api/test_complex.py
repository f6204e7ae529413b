"""`check` on functions of complex tensors and arrays: right ones pass, each of the usual mistakes fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from gradverify import check  # noqa: E402
from gradverify.core.errors import BadInput  # noqa: E402
from gradverify.core.verdict import FailKind, Outcome  # noqa: E402

from ..helpers import custom  # noqa: E402

C128, C64, F64 = torch.complex128, torch.complex64, torch.float64


def z(*shape: int, seed: int = 0, dtype: Any = C128) -> torch.Tensor:
    rng = np.random.default_rng([seed, *shape])
    return torch.from_numpy(np.asarray(rng.normal(size=shape) + 1j * rng.normal(size=shape))).to(dtype).requires_grad_()


def x(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng([seed, *shape]).normal(size=shape)).requires_grad_()


def quick(fn: Any, *args: Any, **options: Any) -> Any:
    return check(fn, *args, effort="quick", **options)


class Net(nn.Module):
    """A complex layer, its modulus through a nonlinearity that keeps the phase, and another."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(z(3, 2, seed=5).detach())
        self.b = nn.Parameter(z(2, seed=6).detach())
        self.scale = nn.Parameter(x(2, seed=7).detach())

    def forward(self, v: torch.Tensor) -> torch.Tensor:
        h = v @ self.w + self.b
        h = torch.tanh(h.abs() * self.scale) * torch.sgn(h)
        return (h * h.conj()).real.sum(-1)


RIGHT: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "abs": (torch.abs, (z(3),)),
    "angle": (torch.angle, (z(3),)),
    "conj": (lambda z: z.conj(), (z(3),)),
    "conj_physical": (lambda z: torch.conj_physical(z), (z(3),)),
    "product": (lambda z, w: z * w, (z(3), z(3, seed=1))),
    "quotient": (lambda z, w: z / w, (z(3), z(3, seed=1))),
    "real times complex": (lambda x, z: x * z, (x(3), z(3))),
    "real to complex": (lambda x: torch.complex(x, x * x).exp(), (x(3),)),
    "polar": (lambda r, a: torch.polar(r, a), (x(3).abs().detach().requires_grad_(), x(3, seed=2))),
    "power": (lambda z: z**3 + z**-2 + z**0.7 + z ** (1 - 2j), (z(3),)),
    "composite": (lambda z: torch.exp(torch.sin(z) / (1 + z * z)), (z(3),)),
    "inverse functions": (lambda z: torch.asin(z) + torch.atan(z) * torch.acosh(z), (z(2, seed=3),)),
    "log1p": (lambda z: torch.log1p(z) + torch.expm1(z), (z(3),)),
    "real loss": (lambda z: (z.abs() ** 2).sum(), (z(3),)),
    "parts": (lambda z: z.real * z.imag, (z(2, 3),)),
    "view_as_real": (lambda z: torch.view_as_real(z).prod(-1), (z(3),)),
    "view_as_complex": (lambda x: torch.view_as_complex(x) ** 2, (x(3, 2),)),
    "in place": (lambda z: (z * 2).mul_(z).add_(1j), (z(3),)),
    "in place on a part": (lambda z: _halved_imag(z), (z(3),)),
    "adjoint": (lambda z: z.mH @ z, (z(2, 3),)),
    "matmul of a conjugate": (lambda z, w: z @ w.conj(), (z(2, 3), z(3, 2))),
    "vdot": (lambda z, w: torch.vdot(z, w), (z(3), z(3, seed=1))),
    "einsum": (lambda z, w: torch.einsum("ij,kj->ik", z, w.conj()), (z(2, 3), z(2, 3, seed=1))),
    "prod and cumprod": (lambda z: z.prod() * z.cumprod(0) + z.cumsum(0), (z(4),)),
    "mean, var, norm": (lambda z: z.mean() * z.var() + torch.linalg.norm(z), (z(4),)),
    "where and cat": (lambda z: torch.where(z.real > 0, z, z.conj() * 2).roll(1), (z(4),)),
    "index": (lambda z: z[[2, 0]] * z[1], (z(3),)),
    "fft": (lambda z: torch.fft.fft(z, norm="ortho"), (z(6),)),
    "fft2": (lambda z: torch.fft.fft2(z).abs(), (z(2, 3),)),
    "rfft, irfft": (lambda x: torch.fft.irfft(torch.fft.rfft(x) ** 2, n=6), (x(6),)),
    "spectral loss": (lambda x: (torch.fft.rfft(x).abs() ** 2).sum(), (x(8),)),
    "solve": (lambda a, b: torch.linalg.solve(a, b), (z(3, 3), z(3, 2))),
    "inv and det": (lambda a: torch.linalg.inv(a) * torch.linalg.det(a), (z(3, 3),)),
    "cholesky": (lambda z: torch.linalg.cholesky(z @ z.mH + torch.eye(3)), (z(3, 3),)),
    "Hermitian form": (lambda z, a: (z.conj() @ (a + a.mH) @ z).real, (z(3), z(3, 3))),
    "captured": (lambda z: z * _CAPTURED, (z(20),)),
    "complex64": (lambda z: torch.tanh(z) * z.conj(), (z(3, dtype=C64),)),
    "a network": (Net(), (z(2, 3).detach(),)),
    "right by hand": (custom(lambda z: z * z * z, lambda g, z: g * (3 * z * z).conj()), (z(3),)),
    "not holomorphic, by hand": (custom(lambda z: z * z.abs(), lambda g, z: _z_abs_z(g, z)), (z(3),)),
}
_CAPTURED = z(20, seed=9).detach()


def _halved_imag(z: torch.Tensor) -> torch.Tensor:
    w = z * 1
    w.imag.mul_(0.5)
    return w


def _z_abs_z(g: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """d(z|z|) = |z| dz + z Re(conj(z) dz)/|z|."""
    return g * z.abs() + z * (g.conj() * z).real / z.abs()


@pytest.mark.parametrize("name", RIGHT)
def test_right_ones_pass(name: str) -> None:
    fn, args = RIGHT[name]
    verdict = quick(fn, *args)
    assert verdict.outcome is Outcome.PASS, verdict.text()
    typical = [c.power_typical for c in verdict.comparisons if c.of.startswith("d")]
    assert max(typical) < (1e-4 if name == "complex64" else 1e-12)


@pytest.mark.parametrize("name", ["composite", "real times complex", "fft", "in place on a part"])
def test_right_ones_pass_around_the_point_too(name: str) -> None:
    fn, args = RIGHT[name]
    verdict = check(fn, *args)
    assert verdict.outcome is Outcome.PASS, verdict.text()
    assert {"other values", "float32"} <= set(verdict.facts["tried"])


WRONG: dict[str, tuple[Callable[..., Any], tuple[Any, ...], str]] = {
    "not conjugated": (custom(lambda z: z * z, lambda g, z: g * 2 * z), (z(3),), "dz."),
    "conjugated twice": (custom(lambda z: z.exp(), lambda g, z: (g * z.exp()).conj()), (z(3),), "dz."),
    "conj passes g on": (custom(lambda z: z.conj(), lambda g, z: g), (z(3),), "dz.imag"),
    "imaginary part dropped": (custom(lambda z: z * z, lambda g, z: (g * 2 * z.conj()).real), (z(3),), "dz.imag"),
    "half of the Wirtinger derivative": (
        custom(lambda z: (z * z.conj()).real.clone(), lambda g, z: g * z), (z(3),), "dz."),
    "abs gives a real gradient": (custom(lambda z: z.abs(), lambda g, z: g * z.real / z.abs()), (z(3),), "dz."),
    "complex gradient for a real input": (
        custom(lambda x, z: x * z, lambda g, x, z: (g * z.conj(), g * x)), (x(3), z(3)), "raised"),
    "modulus of the gradient for a real input": (
        custom(lambda x, z: x * z, lambda g, x, z: ((g * z.conj()).abs(), g * x)), (x(3), z(3)), "dx"),
    "fft's backward turns the same way": (
        custom(lambda z: torch.fft.fft(z), lambda g, z: torch.fft.fft(g)), (z(6),), "dz."),
    "ifft for fft's backward, scaled": (
        custom(lambda z: torch.fft.fft(z), lambda g, z: torch.fft.ifft(g)), (z(6),), "dz."),
    "rfft's backward forgets the other half": (
        custom(lambda x: torch.fft.rfft(x), lambda g, x: torch.fft.irfft(g, n=6, norm="forward")), (x(6),), "dx"),
    "matmul by the transpose": (
        custom(lambda z, w: z @ w, lambda g, z, w: (g @ w.mT, z.mH @ g)), (z(2, 3), z(3, 2)), "dz."),
    "angle, sign": (
        custom(lambda z: z.angle(), lambda g, z: g * torch.complex(z.imag, -z.real) / z.abs() ** 2), (z(3),), "dz."),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_ones_fail_and_the_entry_is_named(name: str) -> None:
    fn, args, where = WRONG[name]
    named = (lambda z: fn(z)) if len(args) == 1 and args[0].is_complex() else fn
    named = (
        {1: lambda z: fn(z), 2: lambda x, z: fn(x, z)}[len(args)] if where != "dx" or len(args) > 1 else lambda x: fn(x)
    )
    if name == "matmul by the transpose":
        named = lambda z, w: fn(z, w)
    verdict = quick(named, *args)
    assert verdict.outcome is Outcome.FAIL, verdict.text()
    if where == "raised":
        assert verdict.kind is FailKind.RAISED
    else:
        worst = [c.worst.where for c in verdict.comparisons if c.failing]
        assert any(w.startswith(where) for w in worst), worst


def test_torch_cholesky_of_a_complex_matrix_itself() -> None:
    """A defect of PyTorch 2.13: the diagonal of the factor is real whatever A is, and a cotangent for its imaginary part
    moves the gradient all the same."""
    a = torch.tensor([[2.0 + 0j]], dtype=C128, requires_grad=True)
    verdict = quick(lambda a: torch.linalg.cholesky(a), a, cotangent=torch.tensor([[1.5j]], dtype=C128))
    assert verdict.outcome is Outcome.FAIL
    assert quick(lambda a: torch.linalg.cholesky(a), a, cotangent=torch.tensor([[1.5 + 0j]])).outcome is Outcome.PASS


def test_torch_where_of_a_real_and_a_complex_tensor() -> None:
    """A defect of PyTorch 2.13: the gradient for the real one arrives complex, and the engine refuses it."""
    verdict = quick(lambda x, z: torch.where(x > 0, z, x), x(3), z(3))
    assert verdict.kind is FailKind.RAISED
    assert "grad_is_complex" in verdict.message


# ---- options ------------------------------------------------------------------------------------------------------------


def test_wrt_names_the_complex_argument() -> None:
    f = lambda z, w: z * w
    verdict = quick(f, z(3), z(3, seed=1), wrt="w")
    assert [c.of for c in verdict.comparisons] == ["out.real", "out.imag", "dw.real", "dw.imag"]
    with pytest.raises(BadInput, match=r"no floating-point argument 'q' \(there are: z, w\)"):
        quick(f, z(3), z(3), wrt="q")


def test_a_complex_cotangent() -> None:
    g = torch.tensor([1 - 2j, 0.5j, -3.0], dtype=C128)
    assert quick(lambda z: z.exp(), z(3), cotangent=g).outcome is Outcome.PASS
    assert quick(lambda z: z.exp(), z(3), cotangent=g.conj()).outcome is Outcome.PASS  # a lazy conjugate
    assert quick(lambda z: z.exp(), z(3), cotangent=g.real).outcome is Outcome.PASS
    with pytest.raises(BadInput, match="a complex one for a real output"):
        quick(lambda z: z.abs(), z(3), cotangent=g)
    with pytest.raises(BadInput, match="do not match"):
        quick(lambda z: z.exp(), z(3), cotangent=g[:2])


def test_the_cotangent_is_read_in_pytorchs_convention() -> None:
    """Where only the first entry's real part is asked, a backward that is wrong in the imaginary part only looks right."""
    wrong = custom(lambda z: z.clone(), lambda g, z: torch.complex(g.real, -g.imag))
    real, imag = torch.tensor([1.5, 0, 0], dtype=C128), torch.tensor([1.5j, 0, 0], dtype=C128)
    assert quick(lambda z: wrong(z), z(3), cotangent=real, seed=1).outcome is Outcome.PASS
    assert quick(lambda z: wrong(z), z(3), cotangent=imag).outcome is Outcome.FAIL


@pytest.mark.parametrize("name", ["product", "abs", "composite", "fft", "spectral loss"])
def test_second_order_and_forward_mode(name: str) -> None:
    fn, args = RIGHT[name]
    verdict = quick(fn, *args, order=2, modes=("rev", "fwd"))
    assert verdict.outcome is Outcome.PASS, verdict.text()
    # PyTorch's rules for a JVP contain operations that are not traced, for some; a note says so.
    assert len(verdict.facts["judged"]) + sum("is not judged" in n for n in verdict.notes) == 6


def test_a_wrong_second_order() -> None:
    """The first is right; its own derivative loses a conjugate, because it was computed of a detached tensor."""
    detached = custom(lambda z: z * z, lambda g, z: g * 2 * z.detach().conj())
    assert quick(lambda z: detached(z), z(3)).outcome is Outcome.PASS
    assert quick(lambda z: detached(z), z(3), order=2).outcome is Outcome.FAIL


def test_a_reference() -> None:
    assert quick(lambda z: torch.sinc(z.real) + 0 * z.abs(), z(3)).outcome is Outcome.PASS
    assert quick(lambda z: z * z, z(3), reference=lambda w: w**2).outcome is Outcome.PASS
    assert quick(lambda z: z * z, z(3), reference=lambda w: w * w.conj()).outcome is Outcome.FAIL


def test_what_cannot_be_traced_is_held_against_differences() -> None:
    f = custom(lambda z: torch.from_numpy(np.asarray(z.detach()) ** 2), lambda g, z: g * 2 * z.conj())
    bad = custom(lambda z: torch.from_numpy(np.asarray(z.detach()) ** 2), lambda g, z: g * 2 * z)
    assert quick(f, z(3)).outcome is Outcome.PASS
    assert quick(bad, z(3)).outcome is Outcome.FAIL


# ---- laws and layouts ---------------------------------------------------------------------------------------------------


def test_a_backward_that_misreads_strided_memory() -> None:
    """`g` as NumPy's bytes are: right while it is contiguous."""

    def backward(g: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        flat = torch.as_strided(g, (g.numel(),), (1,))  # assumes contiguity
        return flat.reshape(g.shape) * 2

    verdict = quick(custom(lambda z: 2 * z, backward), z(3, 2))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.kind is FailKind.LAW


def test_a_backward_that_writes_to_its_cotangent() -> None:
    verdict = quick(custom(lambda z: 2 * z, lambda g, z: g.mul_(2)), z(3))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.kind is FailKind.LAW
    assert "purity" in verdict.message


def test_a_backward_that_misreads_a_lazy_conjugate() -> None:
    """The bits of memory, without the lazy bit that goes with them."""
    raw = lambda g: torch.view_as_complex(torch.view_as_real(g.conj() if g.is_conj() else g))
    fn = custom(lambda z: 2 * z, lambda g, z: 2 * raw(g))
    assert quick(fn, z(3)).outcome is Outcome.PASS
    verdict = check(fn, z(3))
    assert verdict.kind is FailKind.LAW
    assert "conjugated lazily" in verdict.message


def test_a_function_that_writes_to_its_argument() -> None:
    with pytest.raises(BadInput, match="writes to its argument z"):
        quick(lambda z: z.detach().mul_(2) + z, z(3), wrt="z")


def test_a_lazily_conjugated_argument() -> None:
    given = z(3).detach().conj().requires_grad_()
    assert given.is_conj()
    assert quick(lambda z: z * z.real, given).outcome is Outcome.PASS


def test_complex_and_float32_in_one_call() -> None:
    narrow = x(3).detach().float().requires_grad_()
    assert quick(lambda z, x: z * x, z(3), narrow).outcome is Outcome.PASS
    wrong = custom(lambda z, x: z * x, lambda g, z, x: (g * x, (g * z).real.to(x.dtype)))
    assert quick(lambda z, x: wrong(z, x), z(3), narrow).outcome is Outcome.FAIL


def test_edges() -> None:
    """Zero where smooth, the axes, equal parts; |z| next to 1."""
    points = torch.tensor([0, 1, -1, 1j, 1 + 1j, -2 - 2j, 1 + 1e-9j], dtype=C128).requires_grad_()
    assert (
        quick(lambda z: z.exp() + z**3 + torch.sin(z) + torch.tanh(z) + torch.sigmoid(z), points).outcome
        is Outcome.PASS
    )
    near = torch.tensor([1 + 1e-9j, 0.6 + 0.8j, 1 + 0j, 1e-8 + 1j, 1j], dtype=C128).requires_grad_()
    assert quick(lambda z: torch.log(z), near).outcome is Outcome.PASS


def test_the_modulus_at_zero_has_the_declared_convention() -> None:
    origin = torch.tensor([0, 1j], dtype=C128).requires_grad_()
    assert quick(lambda z: z.abs(), origin).outcome is not Outcome.FAIL


def test_on_a_branch_cut_nothing_is_called_wrong() -> None:
    on = torch.tensor([-2 + 0j, -0.5 + 0j], dtype=C128).requires_grad_()
    for f in (torch.log, torch.sqrt, torch.angle):
        assert quick(f, on).outcome is not Outcome.FAIL


def test_an_empty_array_and_one_without_dimensions() -> None:
    assert quick(lambda z: z * z.conj(), z(0)).outcome is Outcome.PASS
    assert quick(lambda z: z * z.conj(), z()).outcome is Outcome.PASS


def test_module_layers() -> None:
    """PyTorch's own layers over complex tensors."""
    layer = nn.Linear(3, 2, dtype=C128)
    verdict = quick(layer, z(4, 3).detach())
    assert verdict.outcome is Outcome.PASS
    assert {"dweight.real", "dbias.imag"} <= {c.of for c in verdict.comparisons}
    assert quick(lambda v, w: F.conv1d(v, w), z(1, 2, 5), z(2, 2, 3)).outcome is Outcome.PASS
