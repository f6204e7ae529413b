"""Declarations: special."""

from ..core.op import OpSpec

DECLARATIONS: tuple[OpSpec, ...] = ()
