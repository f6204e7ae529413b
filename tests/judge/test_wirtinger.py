"""The conventions of `judge.wirtinger` against what the frameworks' own rules for joining and splitting say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from gradverify import check  # noqa: E402
from gradverify.checker.complex_adapter import (  # noqa: E402
    ComplexAdapter,
    cotangents_of,
    group_parts,
    inputs_named,
    join_parts,
    to_native,
)
from gradverify.core.outcome import Outcome  # noqa: E402
from gradverify.frameworks.recognise import trace  # noqa: E402
from gradverify.frameworks.registry import find, of_functions  # noqa: E402
from gradverify.frameworks.torch.adapter import TorchFramework  # noqa: E402
from gradverify.judge.laws.vjp import to_column_major, to_strided  # noqa: E402
from gradverify.trace import Traced  # noqa: E402

RNG = np.random.default_rng(3)
RE, IM, X = (RNG.normal(size=(3, 2)) for _ in range(3))
GIVEN = tuple(RNG.normal(size=(3, 2)) for _ in range(3))


def both_ways(traced: Traced) -> tuple[Any, Any]:
    """The VJP over pairs by the framework's own joins, and that over complex arrays in the convention."""
    subject = find(traced.framework, None)
    values = {a.name: traced.values[a.name] for a in traced.arguments}
    cotangent = GIVEN[: len([o for o in traced.outputs if o.position is not None])]
    paired, native = to_native(subject, traced)
    assert isinstance(paired, ComplexAdapter)
    return (
        subject.run_vjp(traced.function, values, traced.wrt, cotangent),
        paired.run_vjp(native, values, traced.wrt, cotangent),
    )


def agree(a: Any, b: Any) -> None:
    assert a.raised is None, a.raised
    assert b.raised is None, b.raised
    assert a.gradients.keys() == b.gradients.keys()
    for one, other in zip((*a.outputs, *a.gradients.values()), (*b.outputs, *b.gradients.values()), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-13)


def test_pytorch() -> None:
    z = torch.complex(torch.from_numpy(RE), torch.from_numpy(IM)).requires_grad_()
    x = torch.from_numpy(X).requires_grad_()
    traced = trace(lambda z, x: (z * z.conj() * x + torch.exp(1j * z), z.abs()), z, x)
    agree(*both_ways(traced))


def test_jax() -> None:
    jax = pytest.importorskip("jax")
    jnp = jax.numpy
    with jax.enable_x64(True):
        traced = trace(
            lambda z, x: (z * jnp.conj(z) * x + jnp.exp(1j * z), jnp.abs(z)), jnp.asarray(RE + 1j * IM), jnp.asarray(X)
        )
        agree(*both_ways(traced))


def test_mlx() -> None:
    """Its convention is PyTorch's."""
    mx = pytest.importorskip("mlx.core")
    with mx.stream(mx.cpu):
        z, x = mx.array((RE + 1j * IM).astype(np.complex64)), mx.array(X.astype(np.float32))
        traced = trace(lambda z, x: (z * mx.conj(z) * x + mx.exp(z) / z, mx.abs(z)), z, x)
    values = {a.name: traced.values[a.name] for a in traced.arguments}
    cotangent = tuple(g.astype(np.float32) for g in GIVEN)
    subject = of_functions("mlx")
    paired, native = to_native(subject, traced)
    one = subject.run_vjp(traced.function, values, traced.wrt, cotangent)
    other = paired.run_vjp(native, values, traced.wrt, cotangent)
    assert one.gradients.keys() == other.gradients.keys() == {"z.real", "z.imag", "x"}
    for n in one.gradients:
        np.testing.assert_allclose(one.gradients[n], other.gradients[n], rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize(
    "lay", [to_strided, to_column_major, np.ascontiguousarray, lambda a: np.broadcast_to(a[:1], a.shape)]
)
def test_a_pair_is_joined_in_the_layout_of_its_real_part(lay: Any) -> None:
    re = lay(RE)
    (z,) = join_parts([re, IM], ["real", "imag"])
    np.testing.assert_array_equal(z.real, re)
    assert z.strides == tuple(2 * s for s in re.strides)
    if 0 not in re.strides:
        np.testing.assert_array_equal(z.imag, IM)


def test_joining_keeps_what_may_not_be_written_to() -> None:
    re = RE.copy()
    re.flags.writeable = False
    (z,) = join_parts([re, IM], ["real", "imag"])
    assert not z.flags.writeable
    (z,) = join_parts([RE[::-1], IM], ["real", "imag"], -1.0)
    np.testing.assert_array_equal(z, RE[::-1] - 1j * IM)
    (z,) = join_parts([np.zeros((0, 2)), np.zeros((0, 2))], ["real", "imag"])
    assert z.shape == (0, 2)
    (z, x) = join_parts([np.float32(1.5) * np.ones(()), np.ones((), np.float32), X], ["real", "imag", ""])
    assert z == 1.5 + 1j
    assert x is X


def test_a_real_gradient_of_a_complex_input_has_no_imaginary_part() -> None:
    z = torch.complex(torch.from_numpy(RE), torch.from_numpy(IM)).requires_grad_()
    traced = trace(lambda z: z * z, z)

    class Real(TorchFramework):
        name, dtypes = "real", ("float64",)

        def run_vjp(self, *_: Any) -> Any:
            seen = find("torch", None).run_vjp(lambda x: x, {"x": X}, ("x",), (X,))
            return replace(seen, outputs=(RE + 1j * IM,), gradients={"z": X})

    seen = ComplexAdapter(Real(), traced).run_vjp(lambda z: z, traced.values, traced.wrt, GIVEN[:2])  # type: ignore[arg-type]
    assert seen.gradients["z.real"] is X
    assert seen.gradients["z.imag"] is None


def test_names_and_cotangents() -> None:
    z = torch.complex(torch.from_numpy(RE), torch.from_numpy(IM)).requires_grad_()
    traced = trace(lambda z, x: (z * x, x * 2), z, torch.from_numpy(X).requires_grad_())
    assert inputs_named(traced, ["x", "z"]) == ("x", "z.real", "z.imag")
    assert inputs_named(traced, ["z.imag"]) == ("z.imag",)
    assert group_parts(["z.real", "z.imag", "x"], traced) == [("z", ("z.real", "z.imag")), ("x", ("x",))]
    g = cotangents_of(traced, [RE + 1j * IM, X])
    assert g is not None
    np.testing.assert_array_equal(g[1], IM)
    assert g[2] is X
    assert cotangents_of(traced, None) is None
    assert len(cotangents_of(traced, [RE]) or ()) == 1  # the caller is told what does not match


class Views(torch.autograd.Function):
    """A sum, whose backward pass returns two views of one buffer."""

    @staticmethod
    def forward(ctx: Any, x: Any, y: Any) -> Any:
        return x + y

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        view = torch.cat([*grads, *grads])[: len(grads[0])]
        return view, view.view_as(view)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_views_of_one_buffer_are_found_out_in_complex_numbers_too(dtype: Any) -> None:
    x, y = (torch.randn(3, dtype=dtype, requires_grad=True) for _ in range(2))
    verdict = check(Views.apply, x, y)
    assert verdict.outcome is Outcome.FAIL, verdict.text()
    assert "aliasing is broken" in verdict.message
    assert check(lambda x, y: x + y, x, y).outcome is not Outcome.FAIL
