"""Declarations: compositions."""

from ..core.op import OpSpec

DECLARATIONS: tuple[OpSpec, ...] = ()
