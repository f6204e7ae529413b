# ruff: noqa: E501 - one entry, one line: a table
"""Backward passes written by hand in NumPy, `check(fn, *args, vjp=...)`, with the mistakes that such layers have.

An entry's function is a pair (`gradverify.trace.HandWritten`); for other tools it is bridged as any other.
"""

from __future__ import annotations

import numpy as np

from ..catalogue import Entry, Rand

ENTRIES: list[Entry] = []


def _arrays(args):
    return tuple(a.detach().numpy() if hasattr(a, "detach") else a for a in args)


def pair(name, bug, about, forward, wrong, right, args=lambda r: (r(3, 4),), residuals=False, **more):
    """A forward pass with a wrong backward pass, and the right one as its twin; both are made anew each time."""

    def made(make):
        def entry():
            from gradverify.frameworks.numpy.handwritten import HandWritten

            return HandWritten(forward, make(), residuals), _arrays(args(Rand(name)))

        return entry

    once = lambda f: f if more.get("stateful") else (lambda: f)
    entry = {k: v for k, v in more.items() if k != "stateful"}
    ENTRIES.append(
        Entry(name=f"numpy-{name}", bug=bug, about=about, make=made(once(wrong)), correct=made(once(right)) if right else None,
              framework="numpy", **entry)
    )  # fmt: skip


def _affine(x, w, b):
    return x @ w + b, (x, w)


pair("bias-summed-over-the-wrong-axis", 1, "affine: the bias's gradient summed over features", _affine,
     lambda s, g: (g @ s[1].T, s[0].T @ g, g.sum(axis=1)), lambda s, g: (g @ s[1].T, s[0].T @ g, g.sum(axis=0)),
     lambda r: (r(3, 3), r(3, 3), r(3)), residuals=True, quick=True)  # fmt: skip
pair("mean-subtracted-once", 2, "layer norm: the mean of g * normal is missing", lambda x: _normal(x)[0],
     lambda g, x: _scale(x) * (g - g.mean(-1, keepdims=True)),
     lambda g, x: _scale(x) * (g - g.mean(-1, keepdims=True) - _normal(x)[0] * (g * _normal(x)[0]).mean(-1, keepdims=True)),
     quick=True)  # fmt: skip
pair("softplus-slope-of-relu", 2, "softplus with the slope of relu", lambda x: np.logaddexp(0.0, x),
     lambda g, x: g * (x > 0), lambda g, x: g / (1.0 + np.exp(-x)))  # fmt: skip
pair("ignores-the-cotangent", 3, "sin: the gradient of the sum, whatever the cotangent", np.sin,
     lambda g, x: np.cos(x), lambda g, x: g * np.cos(x), quick=True)  # fmt: skip
pair("clips-the-cotangent", 3, "sin: cotangents clipped to ±5", np.sin,
     lambda g, x: np.clip(g, -5, 5) * np.cos(x), lambda g, x: g * np.cos(x), elsewhere="a large cotangent")  # fmt: skip
pair("fan-out-overwritten", 4, "x enters twice, the second path overwrites the first", lambda x: np.sin(x) * np.exp(x),
     lambda g, x: g * np.sin(x) * np.exp(x), lambda g, x: g * np.exp(x) * (np.cos(x) + np.sin(x)))  # fmt: skip
pair("writes-to-the-cotangent", 5, "scales its cotangent in place and returns it", lambda x: 3.0 * x,
     lambda g, x: np.multiply(g, 3.0, out=g), lambda g, x: 3.0 * g, quick=True)  # fmt: skip


def _stale():
    kept = {}

    def backward(g, x):
        old = kept.setdefault(x.shape, x.copy())
        return 3 * g * old**2

    return backward


pair("stale-input", 6, "keeps the input of the first call of each shape", lambda x: x**3, _stale,
     lambda: lambda g, x: 3 * g * x**2, stateful=True, elsewhere="other values")  # fmt: skip
pair("max-of-a-tie-twice", 8, "max: every tied entry gets the whole cotangent", lambda x: x.max(axis=-1),
     lambda g, x: g[:, None] * (x == x.max(-1, keepdims=True)), None,
     lambda r: (r.of([[1.0, 3.0, 3.0], [0.0, 1.0, -1.0]]),))  # fmt: skip
pair("quotient-at-zero", 9, "prod as prod(x) / x", lambda x: np.prod(x),
     lambda g, x: g * np.prod(x) / x,
     lambda g, x: g * np.array([np.prod(np.delete(x, i)) for i in range(x.size)], dtype=x.dtype),
     lambda r: (r.of([2.0, 0.0, 3.0]),))  # fmt: skip
pair("dead-branch", 10, "where(x > 0, sqrt(x), 0): 0 · inf in the dead branch",
     lambda x: np.where(x > 0, np.sqrt(np.maximum(x, 0.0)), 0.0), lambda g, x: g * (x > 0) * 0.5 / np.sqrt(np.maximum(x, 0.0)),
     lambda g, x: np.where(x > 0, g * 0.5 / np.sqrt(np.where(x > 0, x, 1.0)), 0.0), lambda r: (r.of([-1.0, 2.0, 0.0]),))  # fmt: skip
pair("tail-of-tanh", 11, "tanh's slope as 1 - tanh² in the tail", np.tanh, lambda g, x: g * (1 - np.tanh(x) ** 2),
     lambda g, x: g / np.cosh(x) ** 2, lambda r: (r.of([12.0, -9.0, 0.5]),))  # fmt: skip
pair("flattened-in-memory-order", 12, "reads its cotangent by ravel('K')", lambda x: 2.0 * x,
     lambda g, x: 2.0 * g.ravel("K").reshape(g.shape), lambda g, x: 2.0 * g, elsewhere="a strided cotangent")  # fmt: skip
pair("empty-not-zeros", 14, "pads with np.empty where zeros are meant", lambda x: x[:, :2],
     lambda g, x: np.concatenate([g, np.full((len(g), x.shape[1] - 2), np.nan, x.dtype)], axis=1),
     lambda g, x: np.concatenate([g, np.zeros((len(g), x.shape[1] - 2), x.dtype)], axis=1))  # fmt: skip
pair("single-inside-double", 15, "a backward pass in float32", np.sin,
     lambda g, x: (g.astype(np.float32) * np.cos(x.astype(np.float32))).astype(np.float64), lambda g, x: g * np.cos(x))  # fmt: skip
pair("duplicates-assigned", 16, "x[index]: += of a fancy index drops duplicates", lambda x: x[np.array([2, 0, 2])],
     lambda g, x: _scattered(g, x, False), lambda g, x: _scattered(g, x, True), quick=True)  # fmt: skip
pair("the-branch-not-taken", 19, "sin if the sum is positive, else exp: always the slope of sin",
     lambda x: np.sin(x) if x.sum() > 0 else np.exp(x), lambda g, x: g * np.cos(x),
     lambda g, x: g * (np.cos(x) if x.sum() > 0 else np.exp(x)), lambda r: (r.of([-1.0, -0.3, 0.2]),))  # fmt: skip
pair("gradients-swapped", 22, "x / y: the two gradients in the wrong order", lambda x, y: x / y,
     lambda g, x, y: (-g * x / y**2, g / y), lambda g, x, y: (g / y, -g * x / y**2), lambda r: (r(3, 4), r.pos(3, 4)))  # fmt: skip
pair("zero-d-becomes-1-d", 24, "a 0-d argument's gradient has shape (1,)", lambda x, s: x * s,
     lambda g, x, s: (g * s, (g * x).sum().reshape(1)), lambda g, x, s: (g * s, (g * x).sum()),
     lambda r: (r(3, 4), r.of(0.7)))  # fmt: skip


def _scale(x):
    return 1.0 / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)


def _normal(x):
    return (x - x.mean(axis=-1, keepdims=True)) * _scale(x), None


def _scattered(g, x, right):
    d, at = np.zeros_like(x), np.array([2, 0, 2])
    if right:
        np.add.at(d, at, g)
    else:
        d[at] += g
    return d
