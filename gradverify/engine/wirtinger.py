"""Complex numbers: for which ops the table's rules hold as they stand, and what takes the place of the others.

The convention is PyTorch's ("Autograd for Complex Numbers", in its notes): the cotangent of z = x + iy is
g = dL/dx + i dL/dy, so that dL = Re(conj(g) dz).

The one idea: a VJP text was written for reals. There it computes J^T g, and it is linear in g. Read in complex arithmetic
it still does, where the op is holomorphic, with the complex derivative for J. Then, for w = f(z),

    dL = Re(conj(g) dw) = Re(conj(g) J dz) = Re(conj(J^H g) dz),   and   J^H g = conj(J^T conj(g)),

so that conj(text(conj(g))) is the cotangent of z: `HOLOMORPHIC` says for which ops. What is not holomorphic has a form of
its own, `FORMS` and `OPS`, whose rule is written in this convention and read as it stands. Everything else is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..core.op import Array, OpSpec, Param, Vocabulary
from ..namespaces.numpy import NumpyNamespace
from ..ops import OPS as TABLE
from .op_facts import FACTS, Complex, Refusal, Saves, facts_of

HOLOMORPHIC = frozenset(name for name, facts in FACTS.items() if facts.complex is Complex.HOLOMORPHIC)
"""Ops whose definition and rule may be read in complex arithmetic."""


def _local(name: str, define: Any, *vjp: Any, doc: str, **fields: Any) -> OpSpec:
    return OpSpec(
        name=name, define=define, vjp=vjp, doc=doc, arity=len(vjp), shape=lambda s, *_, **__: s, example=f"{name}(z)",
        **fields,
    )  # fmt: skip


# ---- kernels over NumPy (or CuPy) -----------------------------------------------------------------------------------


def _sgn(xp: NumpyNamespace, z: np.ndarray) -> np.ndarray:
    if z.dtype.kind != "c":
        return xp.module.sign(z)
    size = xp.module.abs(z)
    return z / xp.module.where(size == 0, size.dtype.type(1), size)


def _complex(xp: NumpyNamespace, re: np.ndarray, im: np.ndarray) -> np.ndarray:
    """Not re + 1j im, which makes NaN of an infinite part."""
    re, im = xp.module.broadcast_arrays(re, im)
    out = xp.module.empty(re.shape, dtype=np.result_type(re.dtype, im.dtype, np.complex64))
    out.real, out.imag = re, im
    return out


def _view_as_real(xp: NumpyNamespace, z: np.ndarray) -> np.ndarray:
    part = z.real
    return xp.module.lib.stride_tricks.as_strided(part, (*z.shape, 2), (*z.strides, part.itemsize))


def _view_as_complex(xp: NumpyNamespace, x: np.ndarray) -> np.ndarray:
    return x.view(np.result_type(x.dtype, np.complex64))[..., 0]


_OTHER_NORM = {"backward": "forward", "forward": "backward", "ortho": "ortho"}


def _fft(xp: NumpyNamespace, z: np.ndarray, axes: Any, inverse: bool, norm: str) -> np.ndarray:
    transform = xp.module.fft.ifftn if inverse else xp.module.fft.fftn
    return transform(z, axes=axes, norm=norm).astype(z.dtype, copy=False)


# ---- rules, in the convention above ---------------------------------------------------------------------------------


def _masked(xp: Vocabulary, size: Array) -> Array:
    """|z|, or 1 where it is 0."""
    return xp.where(xp.equal(size, 0.0), xp.ones_like(size), size)


def _sgn_vjp(xp: Vocabulary, g: Array, out: Array, z: Array) -> Array:
    """s = z/r: ds = (dz - s dr)/r with dr = Re(conj(s) dz), hence (g - s Re(conj(s) g))/r; 0 at 0, as in PyTorch."""
    size = xp.abs(z)
    along = out * xp.real(g * xp.conj(out))
    return xp.where(xp.equal(size, 0.0), xp.zeros_like(g), (g - along) / _masked(xp, size))


def _angle_vjp(xp: Vocabulary, g: Array, out: Array, z: Array) -> Array:
    """d angle = Im(dz/z) = Re(conj(iz/|z|^2) dz), hence g iz/|z|^2, with |z|^2 never formed; 0 at 0, as in PyTorch."""
    size = xp.abs(z)
    s, share = xp.sgn(z), g / _masked(xp, size)
    return xp.complex(-(share * xp.imag(s)), share * xp.real(s))


OPS: dict[str, OpSpec] = {
    spec.name: spec
    for spec in (
        _local("conj", lambda xp, z: xp.module.conj(z), lambda xp, g, out, z: xp.conj(g), doc="the complex conjugate"),
        _local("real", lambda xp, z: xp.module.real(z), lambda xp, g, out, z: xp.complex(g, xp.zeros_like(g)),
               doc="the real part"),
        _local("imag", lambda xp, z: xp.module.imag(z), lambda xp, g, out, z: xp.complex(xp.zeros_like(g), g),
               doc="the imaginary part"),
        _local("complex", _complex, lambda xp, g, out, re, im: xp.real(g), lambda xp, g, out, re, im: xp.imag(g),
               doc="re + i im", broadcasts=True),
        _local("sgn", _sgn, _sgn_vjp, doc="z/|z|, and 0 at 0"),
        _local("angle", lambda xp, z: xp.module.angle(z).astype(xp.module.real(z).dtype), _angle_vjp,
               doc="the argument, in (-pi, pi]"),
        _local("view_as_real", _view_as_real, lambda xp, g, out, z: xp.complex(g[..., 0], g[..., 1]),
               doc="the two parts along a last axis"),
        _local("view_as_complex", _view_as_complex, lambda xp, g, out, x: xp.stack([xp.real(g), xp.imag(g)], axis=-1),
               doc="what view_as_real undoes"),
        # The adjoint of F is its inverse, unscaled where F is scaled and scaled where it is not.
        _local("fft", _fft, lambda xp, g, out, z, axes, inverse, norm:
               xp.fft(g, axes=axes, inverse=not inverse, norm=_OTHER_NORM[norm]),
               doc="the discrete Fourier transform along axes",
               params={"axes": Param("axes"), "inverse": Param("bool", False), "norm": Param("string", "backward")}),
    )
}  # fmt: skip
"""Ops of the engine's own: the real op table has no use for them."""


# ---- forms: what an op of the table is for complex arguments, where its text is for reals only ------------------------


def _sigmoid(xp: NumpyNamespace, z: np.ndarray) -> np.ndarray:
    """1/(1 + exp(-z)); by exp(z)/(1 + exp(z)) on the left, where exp(-z) overflows."""
    left = xp.module.real(z) < 0
    e = xp.exp(xp.where(left, z, -z))
    return xp.where(left, e, e.dtype.type(1)) / (1 + e)


def _log1p(xp: NumpyNamespace, z: np.ndarray) -> np.ndarray:
    """log(1 + z), by |1 + z|^2 - 1 = x (x + 2) + y^2: in 1 + z, as NumPy has it, a small real part is lost."""
    m, x, y = xp.module, z.real, z.imag
    size = m.hypot(1 + x, y)
    near = (size > 0.5) & (size < 2)
    re = m.where(near, 0.5 * m.log1p(m.where(near, x * (x + 2) + y * y, 0)), m.log(size))
    return _complex(xp, re, m.arctan2(y, 1 + x))


def _asinh_vjp(xp: Vocabulary, g: Array, out: Array, z: Array) -> Array:
    """1/sqrt(1 + z^2), with the cuts of asinh itself (Kahan, "Branch cuts for complex elementary functions", 1987)."""
    return g / (xp.sqrt(1.0 + 1j * z) * xp.sqrt(1.0 - 1j * z))


def _deviation_norm(xp: Vocabulary, z: Array, axis: Any, keepdims: bool) -> Array:
    return xp.vector_norm(xp.abs(z - xp.mean(z, axis=axis, keepdims=True)), axis=axis, keepdims=keepdims)


def _count(xp: Vocabulary, z: Array, axis: Any) -> int:
    shape = xp.shape(z)
    axes = range(len(shape)) if axis is None else (axis,) if isinstance(axis, int) else axis
    return math.prod(shape[a] for a in axes)


def _var(xp: Vocabulary, z: Array, axis: Any = None, keepdims: bool = False, correction: float = 0.0) -> Array:
    """The mean of |z - mean|^2: real."""
    d = z - xp.mean(z, axis=axis, keepdims=True)
    total = xp.sum(xp.square(xp.real(d)) + xp.square(xp.imag(d)), axis=axis, keepdims=keepdims)
    return total / (_count(xp, z, axis) - correction)


def _std(xp: Vocabulary, z: Array, axis: Any = None, keepdims: bool = False, correction: float = 0.0) -> Array:
    return _deviation_norm(xp, z, axis, keepdims) / (_count(xp, z, axis) - correction) ** 0.5


def _adjoint(xp: Vocabulary, x: Array) -> Array:
    return xp.conj(xp.matrix_transpose(x))


def _cholesky(xp: NumpyNamespace, x: np.ndarray) -> np.ndarray:
    """Of the Hermitian part."""
    return xp.module.linalg.cholesky((x + _adjoint(xp, x)) / 2)


def _cholesky_vjp(xp: Vocabulary, g: Array, out: Array, x: Array) -> Array:
    """The table's rule (Murray 2016, eq. 10) with the adjoint for the transpose; the diagonal of L is real, so that of
    Phi counts with its real part."""
    adjoint = _adjoint(xp, out)
    middle = xp.tril(xp.matmul(adjoint, g))
    diagonal = xp.diag_embed(xp.diagonal(middle))
    phi = middle - diagonal + 0.5 * xp.complex(xp.real(diagonal), xp.zeros_like(xp.real(diagonal)))
    left = xp.solve_triangular(adjoint, phi, upper=True)
    both = _adjoint(xp, xp.solve_triangular(adjoint, _adjoint(xp, left), upper=True))
    return (both + _adjoint(xp, both)) / 2


@dataclass(frozen=True, slots=True)
class Form:
    """What an op of the table is for complex arguments.

    spec         its declaration; without a rule, a composition
    holomorphic  is the rule read between two conjugations, like that of a holomorphic op?
    saves        what the rule reads (see `OpFacts.saves`)
    """

    spec: OpSpec
    holomorphic: bool = False
    saves: Saves | None = None


def _form(op: str, holomorphic: bool = False, saves: Saves | None = None, **changes: Any) -> Form:
    return Form(replace(TABLE[op], **changes), holomorphic, saves)


FORMS: Mapping[str, Form] = {
    "abs": _form("abs", define=lambda xp, z: xp.module.abs(z), vjp=(lambda xp, g, out, z: g * xp.sgn(z),),
                 saves=("a",)),
    "vector_norm": _form("vector_norm", define=lambda xp, z, **kw: xp.vector_norm(xp.abs(z), **kw), vjp=None),
    "var": _form("var", define=_var, vjp=None),
    "std": _form("std", define=_std, vjp=None),
    "vecdot": _form("vecdot", define=lambda xp, a, b, axis=-1: xp.sum(xp.conj(a) * b, axis=axis), vjp=None,
                    broadcasts=False),
    "softsign": _form("softsign", vjp=None),
    "sigmoid": _form("sigmoid", holomorphic=True, define=_sigmoid, saves=FACTS["sigmoid"].saves),
    "log1p": _form("log1p", holomorphic=True, define=_log1p, saves=FACTS["log1p"].saves),
    "asinh": _form("asinh", holomorphic=True, vjp=(_asinh_vjp,), saves=("a",)),
    "cholesky": _form("cholesky", define=_cholesky, vjp=(_cholesky_vjp,), saves=("out",)),
    "logabsdet": _form("logabsdet", define=lambda xp, x: xp.module.linalg.slogdet(x)[1], saves=("a",), vjp=(
        lambda xp, g, out, x: xp.expand_dims(xp.expand_dims(g, -1), -1) * _adjoint(xp, xp.inv(x)),)),
}  # fmt: skip

FUNCTION_REFUSALS: Mapping[str, Refusal] = {
    "max along a dim": (RuntimeError, "max(): does not support complex input"),
    "min along a dim": (RuntimeError, "min(): does not support complex input"),
    "topk": (RuntimeError, " topk does not support complex dtypes on CPU"),
    "floor_divide": (NotImplementedError, "\"div_floor_cpu\" not implemented for '{dtype}'"),
}
"""What PyTorch's functions say that are no ops of the table."""

REFUSALS: Mapping[str, Refusal] = dict(FUNCTION_REFUSALS) | {
    name: facts.refusal for name, facts in FACTS.items() if facts.refusal is not None
}


def refusal(op: str, dtype: np.dtype) -> Exception:
    """What PyTorch would raise for an op (or a function) that has no meaning for complex numbers."""
    name = "ComplexFloat" if dtype == np.complex64 else "ComplexDouble"
    kernel = facts_of(op).cpu_kernel or f"{op}_cpu"
    kind, text = REFUSALS.get(op) or (NotImplementedError, f"\"{kernel}\" not implemented for '{{dtype}}'")
    return kind(text.format(dtype=name))
