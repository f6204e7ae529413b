"""Rules of JAX's custom gradients where their values are hidden: under `jit`, `vmap`, `scan` and what is made of them.

The rule runs on tracers there. A callback that is staged beside it hands its values over whenever it runs: of a `custom_vjp`
in the backward rule, which is given the arguments as further residuals, so that arguments and cotangents are those of one
call; of a `custom_jvp`, whose transpose has no rule of its own, in the rule itself, without cotangents.

JAX's symbolic zeros tell which arguments are differentiated. The rule gets arrays of zeros for them, as it does without.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

LANES = 4
"""Rows of a `vmap` whose values are handed over, evenly spread: one callback is staged, not one for each row."""

Cotangents = tuple[np.ndarray, ...]


@dataclass(frozen=True, eq=False)
class Arrived:
    """What is known of a rule's call before it runs.

    structure  of `(args, kwargs)`
    places     the differentiated leaves
    outputs    shape and dtype of each floating-point output
    """

    structure: Any
    places: list[int]
    outputs: tuple[tuple[tuple[int, ...], str], ...]


class Listener(Protocol):
    """Whoever is handed the values. `is_due` and `arrives` are called on threads where no function of JAX may be called."""

    def begins(self) -> None:
        """A rule is about to be traced: something differentiates the call."""

    def is_due(self) -> bool:
        """A rule ran: is it looked at?"""

    def arrives(self, call: Arrived, values: list[Any], cotangents: Cotangents | None) -> None:
        """A rule ran on these leaves; `cotangents` of floating-point outputs, None of a custom_jvp."""

    def misses(self, why: str) -> None:
        """The values of a rule cannot be handed over."""


def staged(fn: Any, listener: Listener, most: int) -> tuple[Any, Any]:
    """Two copies of a custom gradient whose rules hand their values to `listener`: asked with symbolic zeros, and without.

    most  bytes that the values of one call may take
    """
    stage = _Stage(listener, most, tuple(fn.nondiff_argnums), fn.symbolic_zeros)
    if isinstance(fn, jax.custom_vjp):
        assert fn.fwd is not None
        assert fn.bwd is not None
        fwd, bwd = stage.forward(fn.fwd), stage.backward(fn.bwd)

        def copied(symbolic_zeros: bool) -> Any:
            twin = jax.custom_vjp(fn.fun, nondiff_argnums=stage.static)
            twin.defvjp(fwd, bwd, symbolic_zeros=symbolic_zeros)
            return twin
    else:
        rule = stage.push(fn.jvp)

        def copied(symbolic_zeros: bool) -> Any:
            twin = jax.custom_jvp(fn.fun, nondiff_argnums=stage.static)
            twin.defjvp(rule, symbolic_zeros=symbolic_zeros)
            return twin

    return copied(True), copied(fn.symbolic_zeros)


def is_plain(structure: Any) -> bool:
    """Are all containers of a tree Python's own? Others may refuse symbolic zeros for their values."""
    data = structure.node_data()
    if data is None:
        return True
    return issubclass(data[0], (tuple, list, dict, type(None))) and all(map(is_plain, structure.children()))


@dataclass(frozen=True, eq=False)
class _Saved:
    """The residuals of a rule, and the arguments beside them; of each leaf of those, is it differentiated?"""

    residuals: Any
    args: tuple[Any, ...]
    perturbed: tuple[bool, ...]


jax.tree_util.register_pytree_node(
    _Saved, lambda s: ((s.residuals, s.args), s.perturbed), lambda flags, children: _Saved(*children, flags)
)


@dataclass(frozen=True)
class _Slot:
    """Where the k-th array of a call belongs in its tree."""

    k: int


@dataclass(frozen=True, eq=False)
class _Stage:
    """The rules of one custom gradient, each with a callback beside it.

    static     places of the arguments that are no arrays (nondiff_argnums)
    own_zeros  do the rules ask for symbolic zeros themselves?
    """

    listener: Listener
    most: int
    static: tuple[int, ...]
    own_zeros: bool

    def forward(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """The forward rule, which saves the arguments too."""

        @functools.wraps(rule)
        def fwd(*args: Any) -> Any:
            self.listener.begins()
            values = jax.tree.map(_primal, args, is_leaf=_is_primal)
            out = rule(*(args if self.own_zeros else values))
            if not (isinstance(out, (tuple, list)) and len(out) == 2):
                return out  # JAX says what is wrong with it
            kept = [k for k in range(len(args)) if k not in self.static]
            given = jax.tree.leaves([args[k] for k in kept], is_leaf=_is_primal)
            perturbed = tuple(bool(x.perturbed) if _is_primal(x) else True for x in given)
            return out[0], _Saved(out[1], tuple(values[k] for k in kept), perturbed)

        return fwd

    def backward(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """The backward rule of `forward`'s residuals."""

        @functools.wraps(rule)
        def bwd(*given: Any) -> Any:
            *fixed, saved, g = given
            full = jax.tree.map(_instantiated, g, is_leaf=_is_zero)
            found = rule(*fixed, saved.residuals, g if self.own_zeros else full)
            arrays = [x for x in jax.tree.leaves(full) if x.dtype != jax.dtypes.float0]
            self._hand_over(fixed, saved.args, _answered(found, saved), arrays, arrays)
            return found

        return bwd

    def push(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """The rule of a custom_jvp."""

        @functools.wraps(rule)
        def jvp(*given: Any) -> Any:
            self.listener.begins()
            *fixed, primals, tangents = given
            perturbed = tuple(not _is_zero(t) for t in jax.tree.leaves(tangents, is_leaf=_is_zero))
            full = tangents if self.own_zeros else jax.tree.map(_instantiated, tangents, is_leaf=_is_zero)
            found = rule(*fixed, primals, full)
            outputs = jax.tree.leaves(found[0]) if isinstance(found, (tuple, list)) and found else []
            self._hand_over(fixed, tuple(primals), perturbed, outputs, None)
            return found

        return jvp

    def _hand_over(
        self, fixed: Sequence[Any], args: tuple[Any, ...], perturbed: tuple[bool, ...], outputs: list[Any],
        cotangents: list[Any] | None,
    ) -> None:  # fmt: skip
        """Stage the callback. What goes wrong here must never break the rule beside it."""
        try:
            leaves, tree = jax.tree.flatten(args)
            inputs = [jax.numpy.asarray(x) for x in leaves]  # numbers among them
            arrays = [*inputs, *(cotangents or ())]
            why = self._obstacle(arrays)
            if not why:
                call, slots = self._described(fixed, inputs, tree, perturbed, outputs)
                self._stage_callback(call, slots, arrays, len(inputs), cotangents is not None)
        except Exception as e:
            why = f"its values cannot be handed over ({type(e).__name__})"
        if why:
            self.listener.misses(why)

    def _obstacle(self, arrays: list[Any]) -> str:
        """Why values cannot be handed over; or ""."""
        if any(jax.dtypes.issubdtype(x.dtype, jax.dtypes.extended) for x in arrays):
            return "an argument is no array of numbers"
        if sum(x.size * x.dtype.itemsize for x in arrays) > self.most:
            return "it is too large to be handed over by a compiled rule"
        return ""

    def _described(
        self, fixed: Sequence[Any], inputs: list[Any], tree: Any, perturbed: tuple[bool, ...], outputs: list[Any]
    ) -> tuple[Arrived, list[Any]]:
        """The call, and its leaves, a slot for each array."""
        whole = list(jax.tree.unflatten(tree, [_Slot(k) for k in range(len(inputs))]))
        for place, value in sorted(zip(self.static, fixed), key=lambda pair: pair[0]):
            whole.insert(place, value)
        leaves, structure = jax.tree.flatten((tuple(whole), {}))
        differentiated = [p and _is_floating(x) for p, x in zip(perturbed, inputs)]
        places = [n for n, leaf in enumerate(leaves) if isinstance(leaf, _Slot) and differentiated[leaf.k]]
        floats = tuple((tuple(x.shape), str(x.dtype)) for x in outputs if _is_floating(x))
        return Arrived(structure, places, floats), leaves

    def _stage_callback(
        self, call: Arrived, leaves: list[Any], arrays: list[Any], count: int, has_cotangents: bool
    ) -> None:
        listener, shapes = self.listener, [tuple(x.shape) for x in arrays]

        def arrived(*values: Any) -> None:
            try:
                if not listener.is_due():
                    return
                for row in _rows([np.asarray(v) for v in values], shapes):
                    filled = [row[leaf.k] if isinstance(leaf, _Slot) else leaf for leaf in leaves]
                    listener.arrives(call, filled, tuple(map(_cotangent, row[count:])) if has_cotangents else None)
            except Exception as e:
                listener.misses(f"its values cannot be handed over ({type(e).__name__})")

        _hand_over.bind(*arrays, callback=arrived)


def _is_floating(x: Any) -> bool:
    return bool(jax.dtypes.issubdtype(x.dtype, np.floating))


def _cotangent(g: np.ndarray) -> np.ndarray:
    return g.astype(np.float32) if g.dtype.name == "bfloat16" else g


def _is_primal(x: Any) -> bool:
    return isinstance(x, CustomVJPPrimal)


def _primal(x: Any) -> Any:
    return x.value if _is_primal(x) else x


def _is_zero(x: Any) -> bool:
    return isinstance(x, SymbolicZero)


def _instantiated(x: Any) -> Any:
    """An array of zeros for a symbolic one."""
    return ad.instantiate_zeros(ad.Zero(x.aval)) if _is_zero(x) else x


def _answered(found: Any, saved: _Saved) -> tuple[bool, ...]:
    """Which leaves are differentiated, and have a gradient that the rule gives: None is none."""
    given = found if isinstance(found, (tuple, list)) and len(found) == len(saved.args) else (0,) * len(saved.args)
    counts = [(len(jax.tree.leaves(a)), g is not None) for a, g in zip(saved.args, given)]
    has = [flag for n, flag in counts for _ in range(n)]
    return tuple(a and b for a, b in zip(saved.perturbed, has))


# ---- the callback ---------------------------------------------------------------------------------------------------

(_EFFECT,) = jax.make_jaxpr(lambda x: jax.debug.callback(lambda value: None, x))(np.float32(0)).effects

_hand_over = Primitive("gradverify_hand_over")
"""`jax.debug.callback` in a twentieth of its time, which in a scan each step waits for; under `vmap` of some rows alone."""
_hand_over.multiple_results = True


def _called(*arrays: Any, callback: Callable[..., None]) -> list[Any]:
    callback(*arrays)
    return []


def _typed(*avals: Any, callback: Callable[..., None]) -> tuple[list[Any], set[Any]]:
    return [], {_EFFECT}


def _batched(
    arrays: Sequence[Any], dims: Sequence[int | None], *, callback: Callable[..., None]
) -> tuple[list[Any], list[Any]]:
    size = next(np.shape(x)[d] for x, d in zip(arrays, dims) if d is not None)
    rows = np.unique(np.linspace(0, size - 1, LANES).round().astype(int)) if size else np.zeros(0, int)
    chosen = [
        jax.numpy.broadcast_to(x, (len(rows), *np.shape(x))) if d is None else jax.numpy.moveaxis(x, d, 0)[rows]
        for x, d in zip(arrays, dims)
    ]
    return _hand_over.bind(*chosen, callback=callback), []


def _pushed(
    primals: Sequence[Any], tangents: Sequence[Any], *, callback: Callable[..., None]
) -> tuple[list[Any], list[Any]]:
    return _hand_over.bind(*primals, callback=callback), []


def _lowered(context: Any, *arrays: Any, callback: Callable[..., None]) -> Any:
    parameters = getattr(context.module_context, "lowering_parameters", None)
    if getattr(parameters, "for_export", False):  # what is written to a file cannot call back
        return []
    if getattr(context.module_context.axis_context, "num_devices", None) != 1:
        staged = mlir.lower_fun(lambda *given: _by_jax(callback, *given), multiple_results=True)
        return staged(context, *arrays)

    def run(*values: Any) -> tuple[()]:
        callback(*values)
        return ()

    outs, _, _ = mlir.emit_python_callback(
        context, run, None, list(arrays), context.avals_in, context.avals_out, has_side_effect=True
    )
    return outs


def _by_jax(callback: Callable[..., None], *arrays: Any) -> list[Any]:
    """JAX's own, which knows of several devices."""
    jax.debug.callback(callback, *arrays)
    return []


_hand_over.def_impl(_called)
_hand_over.def_effectful_abstract_eval(_typed)
batching.primitive_batchers[_hand_over] = _batched
ad.primitive_jvps[_hand_over] = _pushed
mlir.register_lowering(_hand_over, _lowered)


def _rows(arrays: list[np.ndarray], shapes: list[tuple[int, ...]]) -> list[list[np.ndarray]]:
    """The arrays of each row: leading axes are those of vmaps."""
    count = int(np.prod(arrays[0].shape[: arrays[0].ndim - len(shapes[0])])) if arrays else 0
    flat = [x.reshape(count, *s) for x, s in zip(arrays, shapes)]
    return [[np.array(x[k]) for x in flat] for k in range(count)]
