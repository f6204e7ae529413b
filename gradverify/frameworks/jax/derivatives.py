"""JAX's JVPs, and its derivatives as functions to be differentiated in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..base import Derived, Pushed
from ..values import argnums, restricted
from .casting import needs_x64
from .programs import NoProgram, Store


def run_jvp(
    function: Any, values: Mapping[str, np.ndarray], tangents: Mapping[str, np.ndarray], batched: bool,
    store: Store | None = None,
) -> Pushed:  # fmt: skip
    """(outputs, tangents of the outputs) along `tangents`; with `batched`, under vmap. By the program in `store`, if any."""
    import jax

    def make(active: tuple[int, ...]) -> Callable[..., Any]:
        def pushed(primals: list[Any], along: list[Any]) -> Any:
            of_wrt, at = restricted(function, primals, active), [primals[k] for k in active]
            push = lambda *along: jax.jvp(of_wrt, at, list(along))
            outs, result = push(*along)
            if batched:
                many = [jax.numpy.stack([t, -t, 2 * t]) for t in along]
                result = [r[0] for r in jax.vmap(lambda *a: push(*a)[1])(*many)]
            return tuple(outs), tuple(result)

        return pushed

    with jax.enable_x64(needs_x64(*values.values(), *tangents.values())):
        primals, active = [jax.device_put(np.array(v)) for v in values.values()], tuple(argnums(values, tangents))
        given = primals, [jax.device_put(np.array(t)) for t in tangents.values()]
        try:
            if store is None:
                raise NoProgram
            outs, result = store.run(function, "batched JVP" if batched else "JVP", make, given, active)
        except NoProgram:
            outs, result = make(active)(*given)
        return tuple(np.array(o) for o in outs), tuple(np.array(r) for r in result)


def drops_outputs(jaxpr: Any) -> bool:
    """Does a call of a custom function, here or within, have an output that nothing reads?"""
    from jax.extend.core import ClosedJaxpr, Jaxpr

    read = {id(v) for eqn in jaxpr.eqns for v in eqn.invars} | {id(v) for v in jaxpr.outvars}
    for eqn in jaxpr.eqns:
        if eqn.primitive.name.startswith("custom_vjp") and any(id(v) not in read for v in eqn.outvars):
            return True
        for inner in eqn.params.values():
            inner = inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner
            if isinstance(inner, Jaxpr) and drops_outputs(inner):
                return True
    return False


def lift_jvp(
    function: Callable[..., Any], values: Mapping[str, np.ndarray], tangents: Mapping[str, np.ndarray]
) -> Derived:
    """The JVP as a function of arrays, with its point."""
    import jax

    at = argnums(values, tangents)

    def push(*arrays: Any) -> Any:
        given, along = arrays[: len(values)], arrays[len(values) :]
        return jax.jvp(restricted(function, given, at), [given[k] for k in at], list(along))[1]

    with jax.enable_x64(needs_x64(*values.values(), *tangents.values())):
        return push, tuple(jax.device_put(np.array(v)) for v in (*values.values(), *tangents.values()))


def lift_vjp(
    function: Callable[..., Any],
    values: Mapping[str, np.ndarray],
    wrt: tuple[str, ...],
    cotangent: tuple[np.ndarray, ...],
) -> Derived:
    """The VJP as a function of arrays, with its point."""
    import jax

    at = argnums(values, wrt)

    def pull(*arrays: Any) -> Any:
        given, cotangents = arrays[: len(values)], arrays[len(values) :]
        return jax.vjp(restricted(function, given, at), *(given[k] for k in at))[1](cotangents)

    with jax.enable_x64(needs_x64(*values.values(), *cotangent)):
        return pull, tuple(jax.device_put(np.array(v)) for v in (*values.values(), *cotangent))
