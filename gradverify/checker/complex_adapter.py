"""A function of complex arrays and its framework, seen as a function of real and imaginary parts.

`ComplexAdapter` is a framework over another one. It joins the parts of inputs and cotangents, lets the framework
differentiate the function as its user wrote it, over complex arrays in the requested layout, and splits the gradients.
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
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from ..core.errors import BadInput
from ..core.verdict import Comparison, Verdict
from ..frameworks.base import Framework, Observation
from ..frameworks.registry import of_functions
from ..frameworks.tape import Tape
from ..frameworks.wrapped import Wrapped
from ..namespaces.layout import laid_out
from ..trace import Traced

LAZY = "cotangents that are conjugated lazily"


class ComplexAdapter(Wrapped):
    """The framework `inner` on the complex function that `traced` came from (`traced.native`), over pairs of reals."""

    def __init__(self, inner: Framework, traced: Traced) -> None:
        super().__init__(inner)
        self.traced = traced
        self.forms = {}  # they are those of real ops
        self.sign = -1.0 if inner.conjugates else 1.0
        if inner.conjugated_lazily(traced.function) is not None:
            self.pull_modes = (*inner.pull_modes, LAZY)

    def run_vjp_by(
        self,
        mode: str,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        lazy = self.inner.conjugated_lazily(function) if mode == LAZY else None
        if lazy is not None:
            return self._run(self.inner.run_vjp, lazy, values, wrt, cotangent)
        return self._run(partial(self.inner.run_vjp_by, mode), function, values, wrt, cotangent)

    def run_vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        """Run the VJP of `function`, which is over complex arrays; all other arguments are over their parts."""
        return self._run(self.inner.run_vjp, function, values, wrt, cotangent)

    def _run(
        self,
        vjp: Callable[..., Observation],
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        seen = vjp(function, self.whole(values), self.names(wrt), tuple(self.sent(cotangent)))
        outputs = tuple(half for out in seen.outputs for half in _halves(out))
        return replace(seen, outputs=outputs, gradients=self.apart(seen.gradients, wrt))

    def trace_vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Traced:
        """The trace over pairs of reals, by the frameworks' own rules for joining and splitting."""
        return self.inner.trace_vjp(self.traced.function, values, wrt, cotangent)

    def tape(self) -> Tape:
        inner = self.inner.tape()
        return _ComplexTape(inner.module, inner.tensor, inner.array, self)

    def whole(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The complex arguments by name, joined from their parts."""
        given = [a for a in self.traced.arguments if a.name in values]
        names = [a.whole for a in given if a.part != "imag"]
        return dict(zip(names, join_parts([values[a.name] for a in given], [a.part for a in given])))

    def names(self, wrt: Sequence[str]) -> tuple[str, ...]:
        """The arguments that these parts belong to."""
        return tuple(dict.fromkeys(a.whole for a in self.traced.arguments if a.name in wrt))

    def sent(self, cotangent: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The complex cotangents in the framework's convention, joined from their parts."""
        return join_parts(cotangent, [o.part for o in self.traced.outputs if o.position is not None], self.sign)

    def apart(self, gradients: Mapping[str, np.ndarray | None], wrt: Sequence[str]) -> dict[str, np.ndarray | None]:
        """The gradients of parts, split from those of the complex arguments."""
        found: dict[str, np.ndarray | None] = {}
        for a in self.traced.arguments:
            if a.name in wrt:
                g = gradients.get(a.whole)
                found[a.name] = g if g is None or not a.part else self._part(g, a.part)
        return found

    def _part(self, g: np.ndarray, part: str) -> np.ndarray | None:
        """The real or imaginary part of a gradient; the imaginary part of a real one is None, not zeros."""
        if not np.iscomplexobj(g):
            return g if part == "real" else None
        return np.array(g.real) if part == "real" else np.array(self.sign * g.imag, dtype=g.imag.dtype)


@dataclass(frozen=True)
class _ComplexTape(Tape):
    """A tape over complex leaves, whose gradients are those of real and imaginary parts."""

    of: ComplexAdapter

    def leaves(self, values: Mapping[str, np.ndarray], wrt: Sequence[str]) -> dict[str, Any]:
        return super().leaves(self.of.whole(values), self.of.names(wrt))

    def roots(self, outputs: Sequence[Any], cotangent: Sequence[np.ndarray]) -> tuple[list[Any], list[Any]]:
        return super().roots(outputs, self.of.sent(cotangent))

    def grads(self, tensors: Mapping[str, Any], names: Sequence[str]) -> dict[str, np.ndarray | None]:
        return self.of.apart(super().grads(tensors, self.of.names(names)), names)


def _halves(x: np.ndarray) -> tuple[np.ndarray, ...]:
    return (np.array(x.real), np.array(x.imag)) if np.iscomplexobj(x) else (x,)


def join_parts(arrays: Sequence[np.ndarray], parts: Sequence[str], sign: float = 1.0) -> list[np.ndarray]:
    """Every pair as one complex array in the layout of its real part, with `sign` before i; the others as they are."""
    rest = iter(zip(arrays, parts))
    return [_join(a, next(rest)[0], sign) if part else a for a, part in rest]


def _join(re: np.ndarray, im: np.ndarray, sign: float) -> np.ndarray:
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
    sign = -1.0 if of_functions(traced.framework).conjugates else 1.0
    rest = iter(given)
    found: list[np.ndarray] = []
    for part in parts:
        if part != "imag":
            g = next(rest)
            if np.iscomplexobj(g) and not part:
                raise BadInput("cotangent: a complex one for a real output")
        found.append(np.array(g.real) if part == "real" else np.array(sign * g.imag) if part else g)
    return tuple(found)


def group_parts(names: Sequence[str], traced: Traced) -> list[tuple[str, tuple[str, ...]]]:
    """(argument, its inputs among `names`): what is differentiated together."""
    whole = {a.name: a.whole for a in traced.arguments}
    groups: dict[str, list[str]] = {}
    for n in names:
        groups.setdefault(whole.get(n, n), []).append(n)
    return [(w, tuple(ns)) for w, ns in groups.items()]


# ---- labels -------------------------------------------------------------------------------------------------------------


def label_whole(verdict: Verdict, traced: Traced) -> Verdict:
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


def to_native(subject: Framework, traced: Traced) -> tuple[Framework, Callable[..., Any]]:
    """The subject and the function to judge: for complex arrays the adapter, and the function as its user wrote it."""
    return (subject, traced.function) if traced.native is None else (ComplexAdapter(subject, traced), traced.native)
