# ruff: noqa: E501 - one entry, one line: a table
"""Right backward passes by hand in NumPy that are hard on a checker."""

from __future__ import annotations

import numpy as np

from ..catalogue import Entry, Rand
from ..mutants.numpy_kernels import _arrays

ENTRIES: list[Entry] = []


def ok(name, about, forward, backward, args=lambda r: (r(3, 4),), residuals=False, **more):
    def make():
        from gradverify.frameworks.numpy.handwritten import HandWritten

        return HandWritten(forward, backward, residuals), _arrays(args(Rand(name)))

    ENTRIES.append(Entry(name=f"numpy-{name}", bug=0, about=about, make=make, framework="numpy", **more))


def _filled(x):
    """A running sum, entry by entry into a buffer."""
    out = np.zeros_like(x)
    for i in range(x.shape[0]):
        out[i] = x[i] + (out[i - 1] if i else 0.0)
    return out


def _in_place(x):
    y = x.copy()
    y[y < 0] *= 0.1
    y += 1.0
    return y


def _softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _cross_entropy(x):
    """From logits, the class of row i being i; a mean over rows."""
    p = _softmax(x)
    rows = np.arange(len(x))
    return -np.log(p[rows, rows % x.shape[1]]).mean(), p


def _cross_entropy_vjp(p, g):
    d = p.copy()
    rows = np.arange(len(p))
    d[rows, rows % p.shape[1]] -= 1.0
    return g * d / len(p)


def _windows(x, k):
    return np.lib.stride_tricks.sliding_window_view(x, k.shape[0], axis=-1) @ k


def _windows_vjp(g, x, k):
    dx = np.zeros_like(x)
    for j in range(k.shape[0]):
        dx[..., j : j + g.shape[-1]] += g * k[j]
    return dx, np.tensordot(g, np.lib.stride_tricks.sliding_window_view(x, k.shape[0], axis=-1), (range(g.ndim),) * 2)


ok("running-sum", "a loop over a buffer", _filled, lambda g, x: np.cumsum(g[::-1], axis=0)[::-1], quick=True)
ok(
    "masked-in-place",
    "leaky relu by masked assignment",
    _in_place,
    lambda g, x: np.where(x < 0, 0.1 * g, g),
    quick=True,
)
ok(
    "relu-at-zero",
    "relu at exactly 0, slope 0",
    lambda x: np.maximum(x, 0),
    lambda g, x: g * (x > 0),
    lambda r: (r.of([0.0, -1.0, 2.0]),),
)
ok("abs-at-zero", "abs at 0, slope 0", np.abs, lambda g, x: g * np.sign(x), lambda r: (r.of([0.0, -1.0, 2.0]),))
ok(
    "cross-entropy",
    "softmax and log in one, from residuals",
    _cross_entropy,
    _cross_entropy_vjp,
    residuals=True,
    quick=True,
)
ok("sliding-windows", "a correlation over a strided view", _windows, _windows_vjp, lambda r: (r(2, 7), r(3)))
ok("returns-its-cotangent", "the identity hands its cotangent on", lambda x: x * 1.0, lambda g, x: g, quick=True)
ok("einsum", "a bilinear form", lambda x, a, y: np.einsum("bi,ij,bj->b", x, a, y),
   lambda g, x, a, y: ((y @ a.T) * g[:, None], np.einsum("b,bi,bj->ij", g, x, y), (x @ a) * g[:, None]),
   lambda r: (r(3, 4), r(4, 2), r(3, 2)))  # fmt: skip
ok("sort", "sorted rows, the cotangent put back", lambda x: np.sort(x, axis=1), lambda g, x: _unsorted(g, x))
ok("median", "the one or two entries in the middle", np.median, lambda g, x: _middle(g, x), lambda r: (r(7),))
ok("solve", "a linear solve", np.linalg.solve,
   lambda g, a, b: (lambda d: (-np.outer(d, np.linalg.solve(a, b)), d))(np.linalg.solve(a.T, g)),
   lambda r: (r.of(np.eye(3) * 4 + r.rng.standard_normal((3, 3))), r(3)))  # fmt: skip
ok("cached-scale", "a norm with its scale kept", lambda x: (x / np.linalg.norm(x), (x / np.linalg.norm(x), np.linalg.norm(x))),
   lambda s, g: (g - s[0] * (s[0] * g).sum()) / s[1], residuals=True)  # fmt: skip


def _unsorted(g, x):
    d = np.empty_like(g)
    np.put_along_axis(d, np.argsort(x, axis=1), g, axis=1)
    return d


def _middle(g, x):
    d, order = np.zeros_like(x), np.argsort(x, axis=None)
    np.put(d, order[(x.size - 1) // 2], g / 2)
    d.flat[order[x.size // 2]] += g / 2
    return d
