"""From an op's declaration to what the engine needs in order to run and record it.

The one idea: nothing here knows how to differentiate. A `Rule` takes the kernel (`define`) and the VJP texts from the op
table, adds PyTorch's name of the backward node, its dtype rule, and whether the result is a view.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..core.errors import UnknownName
from ..core.op import OpSpec, Param
from ..namespaces.numpy import NumpyNamespace, native_index
from ..ops import OPS
from ..ops.neural import places
from . import wirtinger
from .node_names import Names
from .node_names import node_name as names_of
from .reads import Read, reads
from .tape import named

# How operands are brought to one dtype before the kernel runs.
KEEP, ARITHMETIC, REAL, COMPARE = "keep", "arithmetic", "real", "compare"

_ARITHMETIC = set(
    "add subtract multiply negative abs sign square pow maximum minimum floor ceil round trunc clip where matmul "
    "einsum outer vecdot tensordot cross sum prod cumulative_sum cumulative_prod max min relu remainder "
    "floor_divide concat stack trace det_int fmod lerp_int hardtanh relu6 leaky".split()
)
_KEEP = set(
    "reshape permute_dims matrix_transpose expand_dims squeeze broadcast_to getitem diagonal flip roll pad tril "
    "triu take take_along_axis index_add scatter_add embed repeat tile moveaxis swapaxes argmax argmin argsort "
    "clone logical_and logical_or logical_not isfinite conj real imag cast index index_put index_put_add gather "
    "unstack flatten any all complex sgn angle view_as_real view_as_complex fft".split()
)
_SUMS = set("index_add scatter_add index_put_add".split())  # what is kept there is added up, too
_COMPARE = set("equal not_equal less less_equal greater greater_equal".split())

VIEWS = set(
    "reshape permute_dims matrix_transpose expand_dims squeeze broadcast_to getitem diagonal moveaxis swapaxes "
    "real imag view_as_real view_as_complex".split()
)
"""Ops whose result shares the input's memory in PyTorch (reshape: where the layout allows it)."""


def _counting(x: Any) -> Any:
    """PyTorch adds up bools and integers of any size in int64, NumPy unsigned ones in uint64."""
    return np.int64 if x.dtype.kind in "biu" else None


class Kernels(NumpyNamespace):
    """The forward kernels, where PyTorch's result differs from NumPy's in memory rather than in value.

    The operators are Python's: on NumPy's 0-d scalars they are several times faster than the ufunc itself.
    """

    add = staticmethod(operator.add)
    subtract = staticmethod(operator.sub)
    multiply = staticmethod(operator.mul)
    divide = staticmethod(operator.truediv)
    negative = staticmethod(operator.neg)

    @staticmethod
    def square(x: Any) -> Any:
        return x * x

    def __getattr__(self, name: str) -> Any:
        if name in LOCAL:
            return partial(LOCAL[name].define, self)
        plain = super().__getattr__(name)
        if name not in wirtinger.FORMS:
            return plain
        form = partial(wirtinger.FORMS[name][0].define, self)
        return lambda x, *rest, **params: (form if x.dtype.kind == "c" else plain)(x, *rest, **params)

    def sum(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return self.module.sum(x, axis=axis, keepdims=keepdims, dtype=_counting(x))

    def prod(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return self.module.prod(x, axis=axis, keepdims=keepdims, dtype=_counting(x))

    def flip(self, x: Any, axis: Any = None) -> Any:
        return super().flip(x, axis).copy()  # a copy in PyTorch, a view in NumPy

    def getitem(self, x: Any, index: Any) -> Any:
        at = native_index(index)
        return x[at] if Ellipsis in at else x[(*at, Ellipsis)]  # the Ellipsis keeps a 0-d result a view

    def col2im(self, x: Any, size: Any, kernel: Any, stride: Any = (1, 1), dilation: Any = (1, 1)) -> Any:
        """The definition's sum of embedded patches, added up in one array instead of one per patch entry."""
        out = self.zeros((*x.shape[:2], *size), like=x)
        for k, at in enumerate(places(size[0], size[1], kernel, stride, dilation)):
            out[native_index(at)] += x[:, :, k]
        return out


KERNELS = Kernels()


class _Device:
    """The kernels over CuPy, from the first tensor on a GPU on; None until then, so that nobody pays for asking."""

    def __init__(self) -> None:
        self.kernels: Kernels | None = None


gpu = _Device()


def kernels_for(*raws: Any) -> Kernels:
    """The kernels of the module that these arrays belong to."""
    on_gpu = (hasattr(r, "device") and not isinstance(r, np.ndarray | np.generic) for r in raws)
    if gpu.kernels is not None and any(on_gpu):
        return gpu.kernels
    return KERNELS


@dataclass(frozen=True, slots=True)
class Plan:
    """What to keep on the tape, given which arguments are to get cotangents.

    wanted   (argument, its rule) for those arguments
    values   arguments whose value a wanted rule reads
    shapes   arguments of which it reads the shape only
    output   how it reads the output
    saves    is there anything to save? `keeps`: anything of value, that backward has to free afterwards?
    everything  is every argument kept by value? `blank`: what is saved where nothing is
    """

    wanted: tuple[tuple[int, Callable[..., Any]], ...]
    values: tuple[int, ...]
    shapes: tuple[int, ...]
    output: Read
    saves: bool
    keeps: bool
    everything: bool
    blank: tuple[None, ...]


class Rule:
    """One op, ready to run and to record.

    kernel      the forward computation, over arrays
    promotion   how operands are brought to one dtype
    node_name   PyTorch's name of the backward node; `node_class` where it is always the same
    frozen      arguments that have no cotangent
    plans       what to keep, by the set (a bit mask) of arguments that are to get cotangents
    wirtinger   is the rule written for complex cotangents, rather than for reals? (See `wirtinger`.)
    """

    def __init__(self, spec: OpSpec, node_name: Names | None = None) -> None:
        self.spec, self.name = spec, spec.name
        self.node_name: Names = node_name or names_of(spec.name)
        self.node_class: type | None = None
        self.params = {n: p.default for n, p in spec.params.items() if not p.required}
        self.kernel = self.kernel_in(KERNELS)
        self.differentiable, self.broadcasts = spec.result == "float", spec.broadcasts
        self.composite, self.primitive = spec.composite, spec.primitive
        self.frozen = {i for i, v in enumerate(spec.vjp) if v is None} if isinstance(spec.vjp, tuple) else set()
        self.promotion = (
            KEEP if spec.name in _KEEP else COMPARE if spec.name in _COMPARE
            else ARITHMETIC if spec.name in _ARITHMETIC else REAL
        )  # fmt: skip
        self.computes = self.promotion is not KEEP or spec.name in _SUMS
        self.indexes = spec.name in ("index", "index_put")  # arrays in the parameters: they are freed with the rest
        self.view = spec.name in VIEWS
        self.plans: dict[int, Plan] = {}
        self.wirtinger = spec.name in wirtinger.OPS
        self._on_complex: Rule | None = None

    def on_complex(self, dtype: np.dtype) -> Rule:
        """The rule for complex arguments: this one, or the op's form. Raises what PyTorch would where there is none."""
        if self._on_complex is None:
            if self.name in wirtinger.FORMS:
                self._on_complex = _form(self, *wirtinger.FORMS[self.name])
            elif self.name in wirtinger.HOLOMORPHIC or self.wirtinger:
                self._on_complex = self
            else:
                raise wirtinger.refusal(self.name, dtype)
        return self._on_complex

    def kernel_in(self, xp: Kernels) -> Callable[..., Any]:
        """The kernel of that name, if there is one that takes the op's arguments as they stand; else the definition."""
        has_own = self.spec.arity >= 0 and (self.spec.primitive or hasattr(Kernels, self.name))
        own = getattr(xp, self.name, None) if has_own else None
        return own if own is not None else partial(self.spec.define, xp)

    def plan(self, wanted: int, n: int) -> Plan:
        """The plan for a call with n arguments of which those in the mask `wanted` are to get cotangents."""
        output, how = Read.NOTHING, [Read.NOTHING] * n
        rules = []
        for i in range(n):
            if not wanted >> i & 1:
                continue
            text = self.spec.vjp[i] if isinstance(self.spec.vjp, tuple) else self.spec.vjp
            assert text is not None, f"argument {i} of {self.name} has no cotangent"
            variadic = not isinstance(self.spec.vjp, tuple)  # then the text takes the argument's number as well
            rules.append((i, _for_argument(text, i) if variadic else text))
            found = reads(text)
            if found is None:
                output, how = Read.VALUE, [Read.VALUE] * n
                continue
            _, *signature = list(inspect.signature(text).parameters.values())[2 if variadic else 1 :]
            output = max(output, found[signature[0].name])
            rest = signature[1:]
            starred = next((p for p in rest if p.kind is p.VAR_POSITIONAL), None)
            fixed = rest.index(starred) if starred is not None else len(rest)
            for k in range(n):
                slot = rest[k] if k < fixed else starred
                how[k] = max(how[k], found[slot.name]) if slot is not None else Read.VALUE
        values, shapes = (tuple(k for k, h in enumerate(how) if h is r) for r in (Read.VALUE, Read.SHAPE))
        saves = bool(values or shapes or output)
        keeps = bool(values) or output is Read.VALUE or self.indexes
        plan = Plan(tuple(rules), values, shapes, output, saves, keeps, len(values) == n, (None,) * n)
        if self.spec.arity >= 0:
            self.plans[wanted] = plan
        return plan


def _form(rule: Rule, spec: OpSpec, holomorphic: bool) -> Rule:
    form = Rule(spec, rule.node_name)
    form.node_class, form.wirtinger, form._on_complex = rule.node_class, not holomorphic, form
    form.kernel = partial(spec.define, KERNELS)
    return form


def _for_argument(text: Callable[..., Any], i: int) -> Callable[..., Any]:
    return lambda xp, g, out, *args, **params: text(xp, i, g, out, *args, **params)


_rules: dict[tuple[str, str | None], Rule] = {}
LOCAL: dict[str, OpSpec] = {
    spec.name: spec
    for spec in (
        OpSpec(
            name="clone", doc="the same values in memory of their own", example="clone(x)", shape=lambda s, **_: s,
            define=lambda xp, x: xp.module.array(x), vjp=(lambda xp, g, out, x: g,),
        ),
        OpSpec(
            name="cast", doc="the same values in another dtype; the cotangent is cast back by the tape",
            example="cast(x, to=float64)", shape=lambda s, **_: s,
            define=lambda xp, x, to: x.astype(to), vjp=(lambda xp, g, out, x, to: g,), params={"to": Param("string")},
        ),
        OpSpec(
            name="index", doc="x[at] for a native index that holds arrays", example="index(x, at=...)",
            shape=lambda s, **_: s, params={"at": Param("index")},
            define=lambda xp, x, at: x[at],
            vjp=(lambda xp, g, out, x, at: xp.index_put_add(g, at, xp.shape(x)),),
        ),
        OpSpec(
            name="index_put_add", doc="zeros of `shape` with x added at [at]: the adjoint of index",
            example="index_put_add(x, at=..., shape=(3,))",
            shape=lambda s, shape, **_: shape, params={"at": Param("index"), "shape": Param("shape")},
            define=lambda xp, x, at, shape: _put_add(xp, x, at, shape),
            vjp=(lambda xp, g, out, x, at, shape: xp.index(g, at),),
        ),
        OpSpec(
            name="index_put", doc="x with values written at [at]", example="index_put(x, v, at=...)", arity=2,
            shape=lambda s, v, **_: s, params={"at": Param("index")},
            define=lambda xp, x, v, at: _put(xp, x, v, at),
            vjp=(lambda xp, g, out, x, v, at: xp.index_put(g, 0.0, at),
                 lambda xp, g, out, x, v, at: xp.sum_to(xp.index(g, at), xp.shape(v))),
        ),
    )
} | wirtinger.OPS  # fmt: skip
"""Ops of the engine's own: copies and conversions, which are no mathematics, and indices that are arrays."""


def _put_add(xp: Any, x: Any, at: Any, shape: Any) -> Any:
    out = xp.zeros(shape, like=x)
    xp.module.add.at(out, at, x)
    return out


def _put(xp: Any, x: Any, values: Any, at: Any) -> Any:
    out = xp.module.array(x)
    out[at] = values
    return out


def spec_of(name: str) -> OpSpec | None:
    return OPS.get(name) or LOCAL.get(name)


def rule(name: str, node_name: str | None = None) -> Rule:
    """The rule of an op of the table (or of the engine's own), its node called as PyTorch calls it.

    Raises UnknownName.
    """
    found = _rules.get((name, node_name))
    if found is None:
        spec = spec_of(name)
        if spec is None:
            raise UnknownName("op", name, [*OPS, *LOCAL])
        found = _rules[name, node_name] = Rule(spec, node_name)
        if isinstance(found.node_name, str):
            from .dispatch import OpNode

            found.node_class = named(OpNode, found.node_name)
    return found
