"""Points at which a function has the value NaN in some outputs: `jax.test_util.check_grads` finds NaN equal to NaN there."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...core.errors import Unsupported


@dataclass(frozen=True)
class Inside:
    """The outputs of a function that are not NaN, as a function of their own.

    fn     its other outputs; None where all are NaN
    args   the arguments, in which the entries that NaN comes of have the value of another entry
    left   how many outputs, of how many, are NaN
    """

    fn: Callable[..., Any] | None
    args: tuple[Any, ...]
    left: tuple[int, int]


def inside(f: Callable[..., Any], args: tuple[Any, ...], out: Any, modes: Sequence[str]) -> Inside | None:
    """None where no output is NaN. Raises Unsupported where the derivatives of NaN are not NaN in each of `modes`, and
    where what is left cannot be separated from what is NaN."""
    import jax
    import jax.numpy as jnp

    tree: Any
    leaves, tree = jax.tree_util.tree_flatten(out)
    bad = [np.asarray(jnp.isnan(o)) if _inexact(o) else np.zeros(jnp.shape(o), bool) for o in leaves]
    count, total = sum(int(b.sum()) for b in bad), sum(b.size for b in bad)
    if not count:
        return None
    touched = _touched(f, args, tree.unflatten(bad), modes)
    if count == total:
        return Inside(None, args, (count, total))

    def others(*xs: Any) -> Any:
        return [o[~b] if b.any() else o for o, b in zip(jax.tree_util.tree_leaves(f(*xs)), bad)]

    functools.update_wrapper(others, f, assigned=("__name__", "__qualname__"), updated=())
    if hasattr(others, "__wrapped__"):
        del others.__wrapped__  # its outputs are others
    leaves, tree = jax.tree_util.tree_flatten(args)
    masks = tree.flatten_up_to(touched)
    each = [[m if i == k else None for i, m in enumerate(masks)] for k in range(len(masks))]
    for chosen in (masks, *each):
        moved = tree.unflatten(map(_moved, leaves, chosen))
        if _has_no_nan(f(*moved)) and all(map(np.array_equal, others(*args), others(*moved))):
            return Inside(others, moved, (count, total))
    raise Unsupported("outputs that are NaN and outputs that are not come of the same entries of the arguments")


def is_finite(args: Any) -> bool:
    """Are all numbers in a tree of arrays finite?"""
    import jax
    import jax.numpy as jnp

    return all(bool(jnp.isfinite(a).all()) for a in jax.tree_util.tree_leaves(args) if _inexact(a))


def _has_no_nan(out: Any) -> bool:
    import jax
    import jax.numpy as jnp

    return not any(bool(jnp.isnan(o).any()) for o in jax.tree_util.tree_leaves(out) if _inexact(o))


def _touched(f: Callable[..., Any], args: tuple[Any, ...], bad: Any, modes: Sequence[str]) -> Any:
    """Which entries of the arguments the outputs `bad` depend on, and no other output does: a tree of masks."""
    import jax
    import jax.numpy as jnp

    tree_map = jax.tree_util.tree_map
    out, pull = jax.vjp(f, *args)
    seed = lambda o, b: jnp.asarray(b, o.dtype) if _inexact(o) else np.zeros(o.shape, jax.dtypes.float0)
    gradients = pull(tree_map(seed, out, bad))
    others = pull(tree_map(lambda o, b: seed(o, ~b), out, bad))
    # A zero cotangent times an infinite slope is NaN: what is finite and not zero is of the other outputs.
    own = lambda g, h: np.asarray(((g != 0) | jnp.isnan(g)) & ((h == 0) | ~jnp.isfinite(h))) if _inexact(g) else None
    touched = tree_map(own, gradients, others)
    found = [bool(jnp.isnan(g).any()) for g in jax.tree_util.tree_leaves(gradients) if _inexact(g)]
    if "rev" in modes and not any(found):
        raise Unsupported("the value is NaN, and no gradient is")
    if "fwd" in modes:
        along = tree_map(lambda a: jnp.ones_like(a) if _inexact(a) else np.zeros(jnp.shape(a), jax.dtypes.float0), args)
        _, pushed = jax.jvp(f, args, along)
        shown = tree_map(lambda t, b: bool(jnp.isnan(t)[b].all()) if _inexact(t) else True, pushed, bad)
        if not all(jax.tree_util.tree_leaves(shown)):
            raise Unsupported("the value is NaN, and its tangent is not")
    return touched


def _moved(a: Any, touched: np.ndarray | None) -> Any:
    """The argument with a value of another entry where it is `touched`."""
    import jax.numpy as jnp

    if touched is None or not touched.any() or touched.all():
        return a
    return jnp.where(touched, jnp.ravel(a)[int(np.argmin(np.ravel(touched)))], a)


def _inexact(x: Any) -> bool:
    import jax.numpy as jnp

    return hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.inexact)
