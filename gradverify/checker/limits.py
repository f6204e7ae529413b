"""What the arrays of a framework do not stand, or do not promise: which probes would be unfair to it."""

from __future__ import annotations

from ..trace import Traced


def is_by_hand(framework: str) -> bool:
    """Are its backward passes written by hand, for one shape and dtype?"""
    return framework in ("numpy", "cupy")


def can_shrink_batches(framework: str) -> bool:
    """Does it refuse an index beyond a shorter axis? JAX clamps it and drops its gradient; MLX writes out of bounds."""
    return framework not in ("jax", "mlx")


def can_change_shapes(framework: str) -> bool:
    """Is another shape cheap? tinygrad compiles its kernels anew for each, or emulates them entry by entry."""
    return framework != "tinygrad"


def keeps_gradients(traced: Traced) -> bool:
    """Does a caller keep the very arrays that the backward pass returned, so that the next call may write over them?"""
    return traced.framework == "numpy" or (traced.custom and traced.framework == "torch")


def compiler_of(framework: str) -> str:
    """What compiles its functions, by the name that its users know."""
    return "torch.compile" if framework == "torch" else ""
