"""gradverify.jax.check_grads where outputs are NaN: their derivatives have to be, and the other outputs are judged."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402
from jax import lax, test_util  # noqa: E402

from gradverify.core.errors import GradverifyNote  # noqa: E402
from gradverify.jax import Undecided, check_grads  # noqa: E402

X = np.array([[-1.2, -0.5, 0.25], [0.75, 1.1, 0.9]], np.float32)
"""Two of six entries lie outside of the domain of asin and acos."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GradverifyNote)
        yield


def with_rule(f: Any, slope: Any) -> Any:
    """f with a JVP rule of its own."""
    ruled = jax.custom_jvp(f)
    ruled.defjvp(lambda primals, tangents: (f(*primals), slope(*primals) * tangents[0]))
    return ruled


exp_off = with_rule(jnp.exp, lambda x: jnp.exp(x) * (1 + 1e-3))


@pytest.mark.parametrize("at", [np.nan, -np.inf])
@pytest.mark.parametrize("f", [jax.nn.mish, jax.nn.squareplus])
def test_nan_of_nan(f: Any, at: float) -> None:
    check_grads(f, (at,), 1)
    test_util.check_grads(f, (at,), 1)


def test_it_says_what_it_judges() -> None:
    with pytest.warns(GradverifyNote, match="2 of 6 outputs are NaN"):
        check_grads(lax.asin, (X,), 1)
    with pytest.warns(GradverifyNote, match="1 of 1 outputs are NaN"):
        check_grads(lambda x: lax.asin(x).sum(), (np.append(X, np.float32(np.nan)),), 1)


@pytest.mark.parametrize("modes", [("fwd",), ("rev",), ("fwd", "rev")])
@pytest.mark.parametrize(("f", "x"), [
    (lax.asin, 1.5), (lambda x: lax.asin(x).sum(), X), (lax.acos, np.float32([-2, 3])), (lambda x: jnp.sqrt(-1 - x), 0.5),
])  # fmt: skip
def test_outside_of_the_domain_alone_nothing_is_shown(f: Any, x: Any, modes: tuple[str, ...]) -> None:
    """JAX passes: NaN equals NaN, whatever the rule. Nobody asked for NaN here."""
    test_util.check_grads(f, (x,), 1, modes)
    with pytest.raises(Undecided, match="no finite value"):
        check_grads(f, (x,), 1, modes)


@pytest.mark.parametrize("f", [lax.asin, lax.acos, lambda x: jnp.log(x) * jnp.sqrt(2 - x), lambda x: lax.asin(x)[0]])
def test_the_entries_inside_are_judged_at_both_orders(f: Any) -> None:
    check_grads(f, (X,), 2, effort="quick")


@pytest.mark.parametrize("modes", [("fwd",), ("rev",)])
def test_a_rule_that_is_wrong_inside_is_found(modes: tuple[str, ...]) -> None:
    wrong = with_rule(jnp.arcsin, lambda x: 1.01 / jnp.sqrt(1 - x * x))
    with pytest.raises(AssertionError, match="off by"):
        check_grads(wrong, (X,), 1, modes)
    test_util.check_grads(wrong, (X,), 1, modes)  # one NaN in the inner product that it compares is enough


@pytest.mark.parametrize("modes", [("fwd",), ("rev",)])
def test_a_number_where_the_value_is_nan_is_rejected_by_both(modes: tuple[str, ...]) -> None:
    finite = with_rule(jnp.arcsin, lambda x: 1 / jnp.sqrt(jnp.maximum(1 - x * x, 0.1)))
    for check in (test_util.check_grads, check_grads):
        with pytest.raises(AssertionError):
            check(finite, (np.float32([1.5, 1.2]),), 1, modes)


def test_several_arguments_trees_and_what_cannot_be_separated() -> None:
    check_grads(lambda x, y: {"a": jnp.log(x) * y, "b": jnp.exp(y)}, (X, X * 2), 1)
    with pytest.raises(AssertionError, match="off by"):
        check_grads(lambda x, y: {"a": jnp.log(x) * y, "b": exp_off(y)}, (X, X * 2), 1)
    with pytest.raises(AssertionError, match="no finite value"):
        check_grads(lambda x: (jnp.log(x).sum(), jnp.exp(x)), (X,), 1)


def test_broadcast_arguments() -> None:
    check_grads(lambda x, y: jnp.sqrt(x + y), (X, np.float32([0.0, 0.0, 0.0])), 1, ("rev",))


def test_a_constant_nan_has_no_derivative_that_is_nan() -> None:
    for check in (test_util.check_grads, check_grads):
        with pytest.raises(AssertionError):
            check(lambda x: jnp.where(x > 1, jnp.nan, x * x), (X,), 1)


def test_complex_values_and_integers_beside_them() -> None:
    z = np.complex64([1 + 1j, 0.0, 2 - 1j])
    check_grads(lambda z, k: {"n": jnp.sqrt(z.real - 0.5) * k, "k": k}, (z, np.float32([1, 2, 3])), 1)
