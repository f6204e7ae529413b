"""Complex tensors and arrays as pairs of reals: views, lazy bits, storages, constants; both frameworks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from gradverify.core.errors import Unsupported  # noqa: E402
from gradverify.frameworks.recognise import trace  # noqa: E402
from gradverify.namespaces.numpy import NUMPY  # noqa: E402
from gradverify.namespaces.run import forward  # noqa: E402
from gradverify.trace import Traced  # noqa: E402

C128, F64 = torch.complex128, torch.float64
RNG = np.random.default_rng(11)


def z(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.asarray(RNG.normal(size=shape) + 1j * RNG.normal(size=shape)))


def x(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.asarray(RNG.normal(size=shape)))


def ran(t: Traced) -> list[np.ndarray]:
    """The graph's outputs in doubles, parts joined."""
    assert t.graph is not None
    values = {n: v.astype(np.float64) if v.dtype.kind == "f" else v for n, v in t.values.items()}
    with np.errstate(all="ignore"):
        nodes = forward(NUMPY, t.graph, values, "float64")
    out = [np.asarray(nodes[o]) for o in t.graph.outputs]
    return [out[g[0]] + 1j * out[g[1]] if len(g) == 2 else out[g[0]] for g in t.leaves]


def agrees(fn: Callable[..., Any], *args: Any) -> Traced:
    """The graph gives what the function gives (at a point nearby too: the tracer's own confirmation)."""
    t = trace(fn, *args)
    want = fn(*args)
    for got, w in zip(ran(t), want if isinstance(want, tuple) else (want,), strict=True):
        np.testing.assert_allclose(got, w.detach().resolve_conj().resolve_neg().numpy(), rtol=1e-12, atol=1e-13)
    return t


def test_arguments_and_outputs_are_named_by_their_parts() -> None:
    t = trace(lambda w, s: {"a": w * s, "b": s}, z(3).requires_grad_(), x(3))
    assert [(a.name, a.whole, a.part, a.dtype, a.kind) for a in t.arguments] == [
        ("w.real", "w", "real", "float64", "float"),
        ("w.imag", "w", "imag", "float64", "float"),
        ("s", "s", "", "float64", "float"),
    ]
    assert [(o.path, o.part, o.dtype) for o in t.outputs] == [
        ("['a']", "real", "float64"), ("['a']", "imag", "float64"), ("['b']", "", "float64")]  # fmt: skip
    assert t.leaves == ((0, 1), (2,))
    assert t.wrt == ("w.real", "w.imag")
    assert t.native is not None
    assert trace(lambda s: s * 2, x(3)).native is None


def test_the_function_over_parts_is_the_function() -> None:
    w = z(3)
    t = trace(lambda w: (w * w, w.abs()), w)
    re, im, size = t.function(w.real, w.imag)
    torch.testing.assert_close(torch.complex(re, im), w * w)
    torch.testing.assert_close(size, w.abs())
    assert t.native is not None
    torch.testing.assert_close(t.native(w)[0], w * w)


def test_complex64_has_float32_parts() -> None:
    t = trace(lambda w: w * 2, z(3).to(torch.complex64))
    assert {a.dtype for a in t.arguments} == {"float32"}
    assert t.dtype == "float32"


CASES: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "complex": (lambda a, b: torch.complex(a, b), (x(3), x(3))),
    "polar": (lambda a, b: torch.polar(a, b), (x(3).abs(), x(3))),
    "conj_physical": (lambda w: torch.conj_physical(w) * w, (z(3),)),
    "_conj_physical": (lambda w: torch.ops.aten._conj_physical(w) * w, (z(3),)),
    "lazy conj": (lambda w: w.conj() + w.conj().resolve_conj(), (z(3),)),
    "lazy negative": (lambda w: w.conj().imag * 2, (z(3),)),
    "conj of a view": (lambda w: w.conj()[1:].conj() * 2, (z(3),)),
    "adjoint": (lambda w: w.mH, (z(2, 3),)),
    "real and imag": (lambda w: (w.real, w.imag), (z(2, 3),)),
    "view_as_real": (lambda w: torch.view_as_real(w)[..., 1], (z(2, 3),)),
    "view_as_complex": (lambda a: torch.view_as_complex(a), (x(3, 2),)),
    "view_as_complex of a slice": (lambda a: torch.view_as_complex(a[1:]), (x(3, 2),)),
    "there and back": (lambda w: torch.view_as_complex(torch.view_as_real(w * w)), (z(3),)),
    "write to the imaginary part": (lambda w: _with(w * 1, lambda v: v.imag.mul_(3)), (z(3),)),
    "write to the real part of one": (lambda w: _with(w * 1, lambda v: v.real[1:].zero_()), (z(3),)),
    "write through a conjugate": (lambda w: _with(w * 1, lambda v: v.conj().mul_(1j)), (z(3),)),
    "write through reals": (lambda w: _with(w * 1, lambda v: torch.view_as_real(v)[0].fill_(2.0)), (z(3),)),
    "write complex numbers into reals": (
        lambda a: _with(a * 1, lambda v: torch.view_as_complex(v).mul_(1j)), (x(3, 2),)),
    "assign": (lambda w: _with(w * 1, lambda v: v.__setitem__(0, v[1] * 2j)), (z(3),)),
    "assign real numbers": (lambda w, a: _with(w * 1, lambda v: v.__setitem__(0, a[1])), (z(3), x(3))),
    "copy_": (lambda w: torch.zeros(3, dtype=C128).copy_(w), (z(3),)),
    "cast to complex": (lambda a: a.to(C128) * 1j, (x(3),)),
    "a complex number": (lambda a: a * (1 - 2j) + 1j, (x(3),)),
    "a captured array": (lambda w: w * HELD, (z(20),)),
    "a small captured array": (lambda w: w * HELD[:2], (z(2),)),
    "in place": (lambda w: (w * 1).add_(w, alpha=2j).div_(3), (z(3),)),
    "masks": (lambda w: torch.where(w.real > 0, w, 0) * (w.abs() > 0.5), (z(4),)),
    "equality": (lambda w: w * (w == w[0]), (z(4),)),
    "indices": (lambda w: w[torch.tensor([2, 0])].flip(0), (z(3),)),
    "scatter": (lambda w: w.index_add(0, torch.tensor([0, 2]), w[:2]), (z(3),)),
    "stack": (lambda w, a: torch.stack([w, a * 1j]).repeat(2, 1), (z(3), x(3))),
    "pad": (lambda w: torch.nn.functional.pad(w, (1, 2)), (z(3),)),
    "triangles": (lambda w: w.tril() + w.triu(1).roll(1, 0), (z(3, 3),)),
    "trace and diagonal": (lambda w: torch.trace(w) * w.diagonal(), (z(3, 3),)),
    "vdot": (lambda w, v: torch.vdot(w, v) + torch.dot(w, v), (z(3), z(3))),
    "addmm": (lambda w: torch.addmm(w, w, w.mH, beta=1j, alpha=2), (z(3, 3),)),
    "kron": (lambda w: torch.kron(w, w), (z(2, 2),)),
    "pow by tensors": (lambda w: w ** torch.tensor(3) + w ** torch.tensor([2.0, 2.0]) + 2**w, (z(2),)),
    "sgn": (lambda w: torch.sgn(w) + w.angle(), (z(3),)),
    "norms": (lambda w: torch.linalg.vector_norm(w, 1) + torch.linalg.norm(w, dim=0), (z(2, 3),)),
    "_fft_c2c": (lambda w: torch.fft.fftn(w, dim=(0, 1), norm="ortho") + torch.fft.ifft2(w), (z(2, 6),)),
    "_fft_r2c": (lambda a: torch.fft.rfft2(a) + torch.fft.fft(a)[:, :4], (x(4, 6),)),
    "_fft_c2r": (lambda w: torch.fft.irfft2(w) + torch.fft.hfft(w, n=6).real, (z(2, 4),)),
    "shifts": (lambda w: torch.fft.ifftshift(torch.fft.fftshift(w * 2)), (z(5),)),
    "stft": (lambda a: torch.stft(a, 4, hop_length=2, return_complex=True, window=torch.ones(4, dtype=F64)), (x(12),)),
    "det of 6": (lambda w: torch.linalg.det(w), (z(6, 6),)),
    "slogdet": (lambda w: torch.linalg.slogdet(w), (z(3, 3),)),
    "lu_solve": (lambda w, b: torch.linalg.lu_solve(*torch.linalg.lu_factor(w), b, adjoint=True), (z(3, 3), z(3, 2))),
    "solve_triangular": (lambda w, b: torch.linalg.solve_triangular(w, b, upper=True), (z(3, 3), z(3, 2))),
    "inv": (lambda w: torch.linalg.inv(w), (z(2, 3, 3),)),
    "cholesky": (lambda w: torch.linalg.cholesky(w @ w.mH + torch.eye(3)), (z(3, 3),)),
    "cholesky_solve": (
        lambda w, b: torch.cholesky_solve(b, torch.linalg.cholesky(w @ w.mH + torch.eye(3))), (z(3, 3), z(3, 2))),
    "vmap": (lambda w: torch.vmap(lambda v: v * v.conj())(w), (z(3, 2),)),
    "a gradient inside": (lambda w: torch.func.grad(lambda v: (v * v.conj()).real.sum())(w), (z(3),)),
}  # fmt: skip
HELD = z(20)


def _with(v: torch.Tensor, change: Callable[[torch.Tensor], Any]) -> torch.Tensor:
    change(v)
    return v


@pytest.mark.parametrize("name", CASES)
def test_pytorch(name: str) -> None:
    fn, args = CASES[name]
    agrees(fn, *args)


def test_a_captured_array_is_held_by_its_parts() -> None:
    t = trace(lambda w: w * HELD, z(20))
    assert [a.name for a in t.arguments if a.role == "captured"] == ["HELD.real", "HELD.imag"]


def test_a_lazy_conjugate_is_not_called_detached() -> None:
    t = trace(lambda w: w * w.conj(), z(3).requires_grad_())
    assert not t.detaches
    assert not t.notes
    t = trace(lambda w: w * w.conj().detach(), z(3).requires_grad_())
    assert t.detaches


def test_laid_out_as_the_argument_is() -> None:
    w = z(3, 4)[:, ::2]
    t = agrees(lambda w: w * w.stride()[1], w)
    assert t.function(w.real, w.imag)[0].shape == (3, 2)
    lazy = z(3).conj()
    agrees(lambda w: w * (2 if w.is_conj() else 1), lazy)


def test_what_the_function_writes_to() -> None:
    t = trace(lambda w: w.mul_(2) + 1, z(3))
    assert t.written == ("w.real", "w.imag")
    assert "the function writes to its argument w" in t.notes


def test_refusals() -> None:
    with pytest.raises(Unsupported, match="a complex matrix"):
        trace(lambda w: torch.linalg.qr(w)[0], torch.eye(2, dtype=C128))
    with pytest.raises(Unsupported, match="has a value where its graph has none"):
        trace(lambda w: torch.linalg.eigh(w)[0], torch.eye(2, dtype=C128))
    with pytest.raises(Unsupported, match="prime factor"):
        trace(lambda w: torch.fft.fft(w), z(67))
    t = trace(lambda w: torch.linalg.eigh(w)[0], torch.eye(2, dtype=C128), options={"strict": False})
    assert t.graph is None


# ---- JAX ----------------------------------------------------------------------------------------------------------------


def test_jax() -> None:
    jax = pytest.importorskip("jax")
    jnp, lax = jax.numpy, jax.lax
    cases = {
        "complex, real, imag, conj": (lambda a, b: lax.complex(a, b).conj() * lax.complex(b, a).real, 2),
        "fft": (lambda w: jnp.fft.irfft(jnp.fft.rfft(w.real) * w[:3], n=5) + jnp.fft.ifft(jnp.fft.fft2(w[None])[0]), 1),
        "pow": (lambda w: w**3 + w**2.5 + 2.0**w, 1),
        "where": (lambda w: jnp.where(w.real > 0, w, 1j), 1),
        "scan and cond": (
            lambda w: lax.scan(lambda c, v: (c * v, lax.cond(v.real > 0, jnp.conj, lambda u: u * 1j, v)), w[0], w), 1),
        "index": (lambda w: w.at[0].set(w[1] * 2j).at[1].add(w[2]), 1),
        "while": (lambda w: lax.fori_loop(0, 3, lambda i, c: c * w, w), 1),
        "matrix": (lambda w: jnp.linalg.inv(jnp.outer(w, w) + jnp.eye(5)) @ w, 1),
    }  # fmt: skip
    with jax.enable_x64(True):
        w, a = (jnp.asarray(v.numpy()) for v in (z(5), x(5)))
        for fn, count in cases.values():
            args = (w,) if count == 1 else (a, a * 2 + 1)
            t = trace(fn, *args)
            want = jax.tree_util.tree_leaves(fn(*args))
            for got, v in zip(ran(t), want, strict=True):
                np.testing.assert_allclose(got, np.asarray(v), rtol=1e-12, atol=1e-13)
        t = trace(lambda w: w * 2, w)
        assert [x.name for x in t.arguments] == ["w.real", "w.imag"]
        re, im = t.function(w.real, w.imag)
        np.testing.assert_allclose(re + 1j * im, np.asarray(w * 2))
