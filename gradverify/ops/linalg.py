"""Declarations: linalg."""

from ..core.op import OpSpec

DECLARATIONS: tuple[OpSpec, ...] = ()
