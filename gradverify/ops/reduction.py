"""Declarations: reduction."""

from ..core.op import OpSpec

DECLARATIONS: tuple[OpSpec, ...] = ()
