"""Rules that give P·g for the gradient g, with one symmetric positive matrix P: natural gradients and preconditioners.

Let J be the Jacobian and R(a) what the rule gives for a cotangent a. Then R = P·Jᵀ with such a P if, and only if, J·R is
symmetric and positive, and R(a) is 0 wherever Jᵀa is. J comes from central differences.
"""

from __future__ import annotations

import numpy as np

from ..checker.black_box import Opaque
from ..namespaces.dtypes import FORMATS, rounded

MOST = 512
"""Entries of inputs, and of outputs, beyond which nothing is asked: the Jacobian takes two calls for each entry."""

COTANGENTS = 6
"""Fifteen equations: a rule of another kind solves them all by chance alone."""

NOISE = 2.0**10
"""In units of u^(2/3), the error of a central difference at its best step (Press et al. 2007, section 5.7): ten bits for the
third derivative and the condition."""

NULL = 2.0**4
"""In the same units: singular values below are noise of the differences. Of an ill-conditioned Jacobian more are true."""


def is_preconditioned(black_box: Opaque, *, seed: int = 0) -> bool:
    """Is the rule P·g, with P symmetric, positive, and not diagonal?

    A diagonal P is a wrong factor of single entries, and what most wrong rules of elementwise functions are.
    """
    b = black_box
    n, m = sum(b.values[k].size for k in b.wrt), sum(g.size for g in b.cotangent)
    if not 2 <= n <= MOST or not 2 <= m <= MOST:
        return False
    jacobian = _jacobian(b, n)
    if jacobian is None or not np.isfinite(jacobian).all():
        return False
    rng = np.random.default_rng([seed, 16])
    tolerance = NOISE * FORMATS[b.dtype].roundoff ** (2 / 3)
    cotangents = rng.standard_normal((COTANGENTS, m))
    found = [_pull(b, a) for a in cotangents]
    if any(r is None for r in found):
        return False
    rules, truths = np.array(found), cotangents @ jacobian
    size = np.linalg.norm(truths, axis=1)[:, None] * np.linalg.norm(rules, axis=1)
    products = truths @ rules.T
    if not _is_even(products, size, tolerance) or not (np.diag(products) > tolerance * np.diag(size)).all():
        return False
    if np.linalg.eigvalsh((products + products.T) / 2)[0] < -tolerance * size.max():
        return False
    if _is_even((truths * rng.choice([-1.0, 1.0], n)) @ rules.T, size, tolerance):  # every sign keeps a diagonal P even
        return False
    return _is_zero_with_the_gradient(b, jacobian, tolerance, np.linalg.norm(rules, axis=1).max(), rng)


def _is_even(products: np.ndarray, size: np.ndarray, tolerance: float) -> bool:
    return bool((np.abs(products - products.T) <= tolerance * np.maximum(size, size.T)).all())


def _is_zero_with_the_gradient(
    b: Opaque, jacobian: np.ndarray, tolerance: float, size: float, rng: np.random.Generator
) -> bool:
    """Is the rule zero for the cotangents that the true gradient is zero for?"""
    left, singular, _ = np.linalg.svd(jacobian)
    noise = NULL / NOISE * tolerance * singular[0]
    null = left[:, np.append(singular, np.zeros(left.shape[1] - singular.size)) <= noise]
    for _ in range(2 if null.size else 0):
        given = _pull(b, null @ rng.standard_normal(null.shape[1]))
        if given is None or np.linalg.norm(given) > tolerance * size:
            return False
    return True


def _jacobian(b: Opaque, n: int) -> np.ndarray | None:
    """The Jacobian by central differences, outputs by inputs; None where the function raises."""
    columns = []
    step = FORMATS[b.dtype].roundoff ** (1 / 3)
    for name in b.wrt:
        x = np.asarray(b.values[name], dtype=np.float64)
        length = max(float(np.abs(x).max(initial=0.0)), float(FORMATS[b.dtype].roundoff))
        for at in np.ndindex(x.shape):
            ends = []
            for sign in (1.0, -1.0):
                moved = x.copy()
                moved[at] += sign * step * (abs(x[at]) or length)
                ends.append(rounded(moved, b.dtype))
            outs = [_outputs(b, {**b.values, name: end}) for end in ends]
            if outs[0] is None or outs[1] is None:
                return None
            columns.append((outs[0] - outs[1]) / (float(ends[0][at]) - float(ends[1][at])))
    return np.stack(columns, axis=1)


def _outputs(b: Opaque, values: dict[str, np.ndarray]) -> np.ndarray | None:
    seen = b.subject.run_vjp(b.function, values, (), b.cotangent)
    if seen.raised is not None:
        return None
    return np.concatenate([np.asarray(o, dtype=np.float64).ravel() for o in seen.outputs])


def _pull(b: Opaque, cotangent: np.ndarray) -> np.ndarray | None:
    """What the rule gives for a cotangent, all inputs in a row; None where it raises."""
    ends = np.cumsum([g.size for g in b.cotangent])[:-1]
    given = [rounded(c.reshape(g.shape), str(g.dtype)) for c, g in zip(np.split(cotangent, ends), b.cotangent)]
    seen = b.subject.run_vjp(b.function, b.values, b.wrt, tuple(given))
    if seen.raised is not None:
        return None
    found = [(seen.gradients.get(k), b.values[k]) for k in b.wrt]
    return np.concatenate([np.zeros(x.size) if d is None else np.asarray(d, np.float64).ravel() for d, x in found])
