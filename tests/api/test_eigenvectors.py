"""Eigenvectors and singular vectors of any matrices, determinants as ops, degenerate points, infinite arguments."""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

import gradverify
from gradverify import FailKind, Outcome
from gradverify.core.errors import GradverifyNote

jax = pytest.importorskip("jax")
jnp, lax = jax.numpy, jax.lax
check = partial(gradverify.check, effort="quick")


@pytest.fixture(autouse=True)
def doubles() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def drawn(*shape: int, seed: int = 0, complex_: bool = True) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    return x + 1j * rng.standard_normal(shape) if complex_ else x


# ---- eigenvectors ---------------------------------------------------------------------------------------------------


def eig(a: Any, left: bool = False, right: bool = True) -> Any:
    return lax.linalg.eig(
        a, compute_left_eigenvectors=left, compute_right_eigenvectors=right, enable_eigvec_derivs=True
    )


@pytest.mark.parametrize(
    "f",
    [
        pytest.param(eig, id="right"),
        pytest.param(lambda a: eig(a, True, True), id="left and right"),
        pytest.param(lambda a: eig(a)[1][0] * eig(a)[0], id="values times vectors"),
    ],
)
def test_eigenvectors_of_a_complex_matrix(f: Any) -> None:
    v = check(f, jnp.asarray(drawn(3, 3)))
    assert v.outcome is Outcome.PASS
    assert v.formula is not None
    assert v.formula.right
    assert "cannot be traced" not in " ".join(v.notes)


def test_eigenvalues_of_an_unsymmetric_matrix() -> None:
    v = check(lambda a: jnp.linalg.eigvals(a).real, jnp.asarray(drawn(3, 3, seed=4, complex_=False)))
    assert v.outcome is Outcome.PASS
    assert v.formula is not None
    assert v.formula.right


@jax.custom_vjp
def left_alone(a: Any) -> Any:
    """Eigenvalues, with a gradient by the right eigenvectors alone, as if the matrix were Hermitian."""
    return jnp.linalg.eigvals(a)


def _pull(a: Any, g: Any) -> Any:
    _, v = jnp.linalg.eig(a)
    return (jnp.conj(v) @ jnp.diag(g) @ v.T,)


left_alone.defvjp(lambda a: (left_alone(a), a), _pull)


def test_a_wrong_gradient_of_eigenvalues() -> None:
    assert check(left_alone, jnp.asarray(drawn(3, 3))).outcome is Outcome.FAIL


@pytest.mark.parametrize("shape", [(3, 3), (3, 2), (2, 3)])
def test_singular_vectors_of_a_complex_matrix(shape: tuple[int, int]) -> None:
    def f(a: Any) -> Any:
        u, s, vh = torch.linalg.svd(a, full_matrices=False)
        return u.abs(), s, u @ vh

    v = check(f, torch.from_numpy(drawn(*shape)).requires_grad_())
    assert v.outcome is Outcome.PASS
    assert v.formula is not None
    assert v.formula.right


def test_eigenvectors_of_a_hermitian_matrix() -> None:
    def f(a: Any) -> Any:
        w, v = torch.linalg.eigh((a + a.mH) / 2)
        return w, v.abs()

    v = check(f, torch.from_numpy(drawn(3, 3)).requires_grad_())
    assert v.outcome is Outcome.PASS
    assert v.formula is not None
    assert v.formula.right


# ---- degenerate points: the function's own differences decide -----------------------------------------------------------


@pytest.mark.parametrize("power", [1, 2, 3])
def test_a_symmetric_function_of_equal_eigenvalues(power: int) -> None:
    a = torch.diag(torch.tensor([2.0, 2.0, 5.0], dtype=torch.float64)).requires_grad_()
    v = check(lambda a: (torch.linalg.eigvalsh(a) ** power).sum(), a)
    assert v.outcome is Outcome.PASS
    assert any("has a value where its graph has none" in n for n in v.notes)


def test_vectors_at_equal_eigenvalues() -> None:
    """a @ a, by its eigenvectors: smooth, and PyTorch's gradient is NaN."""
    a = torch.diag(torch.tensor([2.0, 2.0, 5.0], dtype=torch.float64)).requires_grad_()

    def squared(a: Any) -> Any:
        w, v = torch.linalg.eigh(a)
        return v @ torch.diag(w**2) @ v.T

    v = check(squared, a)
    assert (v.outcome, v.kind) == (Outcome.FAIL, FailKind.NON_FINITE)


# ---- determinants ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_det_of_the_zero_matrix(n: int) -> None:
    assert check(jnp.linalg.det, jnp.zeros((n, n))).outcome is Outcome.PASS


def test_det_of_rank_one_less_in_single_precision() -> None:
    a = jnp.asarray([[50, -30, 45], [-30, 90, -81], [45, -81, 81]], dtype=jnp.float32)
    assert check(jnp.linalg.det, a).outcome is Outcome.PASS


def test_slogdet_is_an_op() -> None:
    v = check(lambda a: jnp.linalg.slogdet(a)[1], jnp.asarray(drawn(4, 4, complex_=False)))
    assert v.outcome is Outcome.PASS
    assert "logabsdet" in v.graph


# ---- infinite arguments ---------------------------------------------------------------------------------------------


def test_logcumsumexp_of_a_masked_entry() -> None:
    """PyTorch's gradient of the entry is NaN; it moves nothing, and its gradient is 0."""
    x = torch.tensor([-math.inf, 1.0, 2.0, 0.5], dtype=torch.float64, requires_grad=True)
    v = check(lambda x: torch.logcumsumexp(x, 0)[1:], x)
    assert (v.outcome, v.kind) == (Outcome.FAIL, FailKind.NON_FINITE)
    assert "dx[0] is nan where the true value is 0.0" in v.message


@pytest.mark.parametrize("f", [torch.logsumexp, lambda x, d: torch.softmax(x, d)[1:], lambda x, d: x.exp().sum(d)])
def test_a_masked_entry_passes(f: Any) -> None:
    x = torch.tensor([-math.inf, 1.0, 2.0, 0.5], dtype=torch.float64, requires_grad=True)
    assert check(lambda x: f(x, 0), x).outcome in (Outcome.PASS, Outcome.KNOWN)


@pytest.mark.parametrize("f", [jax.nn.mish, jax.nn.softplus, jax.nn.squareplus])
def test_nan_has_no_derivative(f: Any) -> None:
    """Nothing but that is asked of NaN, and a note says so."""
    from gradverify.jax import check_grads

    with pytest.warns(GradverifyNote, match="1 of 1 outputs are NaN"):
        check_grads(f, (math.nan,), 1, ("fwd",), effort="quick")
    check_grads(jax.nn.softplus, (-math.inf,), 1, effort="quick")
