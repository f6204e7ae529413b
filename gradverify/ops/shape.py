"""Declarations: shape."""

from ..core.op import OpSpec

DECLARATIONS: tuple[OpSpec, ...] = ()
