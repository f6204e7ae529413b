"""Declarations: indexing."""

from ..core.op import OpSpec

DECLARATIONS: tuple[OpSpec, ...] = ()
