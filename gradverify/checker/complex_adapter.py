"""A function of complex arrays and its framework, seen as a function of real and imaginary parts.

`Paired` is a subject over another one: it joins the parts of inputs and cotangents, lets the framework differentiate the
function as its user wrote it, over complex arrays in the layout that was asked for, and takes the gradients apart again.
The parts of a cotangent are a = dL/d(Re out) and b = dL/d(Im out), those of a gradient dL/d(Re z) and dL/d(Im z), L being
any real function. What a complex number says of such a pair is the framework's convention:

* PyTorch: a + ib, for cotangents as for gradients ("Autograd for Complex Numbers" in its documentation: the gradient is
  the conjugate Wirtinger derivative, twice dL/d(conj z));
* JAX: a - ib ("The Autodiff Cookbook", complex numbers and differentiation: `grad` of f: C -> R is the conjugate of
  that). `jax.vjp` is the transpose of the real-linear map that `jax.jvp` is, and the transposes of `lax.complex`,
  `lax.real` and `lax.imag` put the same minus there.

Both are what the frameworks' own rules for joining and splitting say (`tests/judge/test_wirtinger.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..core.errors import BadInput
from ..core.graph import Graph
from ..core.verdict import Comparison, Verdict
from ..frameworks.base import Form, Observation, Subject
from ..namespaces.layout import laid_out
from ..trace import Traced

LAZY = "cotangents that are conjugated lazily"

CONJUGATES = frozenset({"jax"})
"""Frameworks in which a + ib stands for the pair (a, -b)."""


class Paired:
    """The subject `inner` on the complex function that `traced` came from (`traced.native`), over pairs of reals."""

    def __init__(self, inner: Subject, traced: Traced) -> None:
        self.inner, self.traced = inner, traced
        self.name, self.dtypes = inner.name, inner.dtypes
        self.forms: Mapping[str, Form] = {}
        self.sign = -1.0 if traced.framework in CONJUGATES else 1.0

    def unavailable(self) -> str | None:
        return self.inner.unavailable()

    def function(self, graph: Graph, dtype: str) -> Callable[..., Any]:
        return self.inner.function(graph, dtype)

    @property
    def ways(self) -> tuple[str, ...]:
        """Other ways of asking: the inner subject's, and in PyTorch cotangents that are conjugated lazily."""
        return (*getattr(self.inner, "ways", ()), *((LAZY,) if self.traced.framework == "torch" else ()))

    def vjp_by(
        self,
        way: str,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        if way == LAZY:
            return self._run(self.inner.vjp, _lazily_asked(function), values, wrt, cotangent)
        by: Any = self.inner
        return self._run(partial(by.vjp_by, way), function, values, wrt, cotangent)

    def vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        """`function` is over complex arrays; everything else over their parts."""
        return self._run(self.inner.vjp, function, values, wrt, cotangent)

    def _run(
        self,
        vjp: Callable[..., Observation],
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        parts = [a.part for a in self.traced.arguments if a.name in values]
        names = [a.whole for a in self.traced.arguments if a.name in values and a.part != "imag"]
        whole = dict(zip(names, joined([values[a.name] for a in self.traced.arguments if a.name in values], parts)))
        given = joined(cotangent, [o.part for o in self.traced.outputs if o.position is not None], self.sign)
        asked = tuple(dict.fromkeys(a.whole for a in self.traced.arguments if a.name in wrt))
        seen = vjp(function, whole, asked, tuple(given))
        gradients: dict[str, np.ndarray | None] = {}
        for a in self.traced.arguments:
            if a.name in wrt:
                g = seen.gradients.get(a.whole)
                gradients[a.name] = g if g is None or not a.part else self._part(g, a.part)
        outputs = tuple(half for out in seen.outputs for half in _halves(out))
        return replace(seen, outputs=outputs, gradients=gradients)

    def _part(self, g: np.ndarray, part: str) -> np.ndarray | None:
        """A gradient that is real has no imaginary part to speak of: None, not zeros."""
        if not np.iscomplexobj(g):
            return g if part == "real" else None
        return np.array(g.real) if part == "real" else np.array(self.sign * g.imag, dtype=g.imag.dtype)


def _lazily_asked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function of tensors, to whose outputs the cotangent comes as a lazy conjugate: that of conj is one, and
    that of conj_physical undoes it in memory."""
    return lambda *tensors: tuple(o.conj().conj_physical() if o.is_complex() else o for o in function(*tensors))


def _halves(x: np.ndarray) -> tuple[np.ndarray, ...]:
    return (np.array(x.real), np.array(x.imag)) if np.iscomplexobj(x) else (x,)


def joined(arrays: Sequence[np.ndarray], parts: Sequence[str], sign: float = 1.0) -> list[np.ndarray]:
    """Every pair as one complex array in the layout of its real part, with `sign` before i; the others as they are."""
    rest = iter(zip(arrays, parts))
    return [_joined(a, next(rest)[0], sign) if part else a for a, part in rest]


def _joined(re: np.ndarray, im: np.ndarray, sign: float) -> np.ndarray:
    whole = np.empty(re.shape, np.result_type(re.dtype, np.complex64))
    whole.real, whole.imag = re, sign * im
    out = laid_out(whole, [s // re.itemsize for s in re.strides])
    if not re.flags.writeable:
        out.flags.writeable = False
    return out


# ---- what callers say in complex numbers --------------------------------------------------------------------------------


def inputs_named(traced: Traced, names: Sequence[str]) -> tuple[str, ...]:
    """Names of inputs for names of arguments: both parts for a complex one. Raises BadInput."""
    floats = [a for a in traced.arguments if a.kind == "float" and a.role != "captured"]
    known = tuple(dict.fromkeys(a.whole for a in floats))
    for n in names:
        if n not in known and all(n != a.name for a in floats):
            raise BadInput(f"wrt: there is no floating-point argument {n!r} (there are: {', '.join(known)})")
    return tuple(a.name for n in names for a in floats if n in (a.name, a.whole))


def cotangents_of(traced: Traced, given: Sequence[np.ndarray] | None) -> tuple[np.ndarray, ...] | None:
    """One array per output, complex for a complex one, in the convention of the framework, as its parts. One array for
    each part is taken as well."""
    parts = [o.part for o in traced.outputs if o.position is not None]
    if given is None or len(given) != len([p for p in parts if p != "imag"]):
        return None if given is None else tuple(given)
    sign = -1.0 if traced.framework in CONJUGATES else 1.0
    rest = iter(given)
    found: list[np.ndarray] = []
    for part in parts:
        if part != "imag":
            g = next(rest)
            if np.iscomplexobj(g) and not part:
                raise BadInput("cotangent: a complex one for a real output")
        found.append(np.array(g.real) if part == "real" else np.array(sign * g.imag) if part else g)
    return tuple(found)


def together(names: Sequence[str], traced: Traced) -> list[tuple[str, tuple[str, ...]]]:
    """(argument, its inputs among `names`): what is differentiated together."""
    whole = {a.name: a.whole for a in traced.arguments}
    groups: dict[str, list[str]] = {}
    for n in names:
        groups.setdefault(whole.get(n, n), []).append(n)
    return [(w, tuple(ns)) for w, ns in groups.items()]


# ---- labels -------------------------------------------------------------------------------------------------------------


def labelled(verdict: Verdict, traced: Traced) -> Verdict:
    """`out0`, `out1` of the pairs as the parts that they are: `out.real`, `out1.imag`; float64 as complex128."""
    groups = traced.leaves
    names: dict[str, str] = {}
    for k, group in enumerate(groups):
        whole = "out" if len(groups) == 1 else f"out{k}"
        for position, part in zip(group, (".real", ".imag") if len(group) == 2 else ("",)):
            names[f"out{position}"] = whole + part
    text = lambda s: re.sub(r"\bout\d+\b", lambda m: names.get(m.group(), m.group()), s)

    def comparison(c: Comparison) -> Comparison:
        return replace(c, of=text(c.of), worst=None if c.worst is None else replace(c.worst, of=text(c.worst.of)))

    complex_dtypes = {"float32": "complex64", "float64": "complex128"} if traced.native else {}
    return replace(
        verdict,
        dtype=complex_dtypes.get(verdict.dtype, verdict.dtype),
        message=text(verdict.message),
        comparisons=tuple(map(comparison, verdict.comparisons)),
    )


def natively(subject: Subject, traced: Traced) -> tuple[Subject, Callable[..., Any]]:
    """The subject and the function that a verdict on `traced` is asked of: where it is complex, as its user wrote it."""
    return (subject, traced.function) if traced.native is None else (Paired(subject, traced), traced.native)
