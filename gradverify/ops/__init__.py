"""The op table: `OPS`, name to declaration. To add an op, declare it in the module of its family; a primitive also needs
its kernels (`namespaces.kernels`).

Third parties register theirs with `namespaces.kernels.register_op`; see `gradverify.testing.check_op`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ..core.op import OpSpec
from . import compositions, elementwise, indexing, linalg, neural, reduction, shape, special

FAMILIES: Mapping[str, tuple[OpSpec, ...]] = MappingProxyType(
    {
        "elementwise": elementwise.DECLARATIONS,
        "special": special.DECLARATIONS,
        "reduction": reduction.DECLARATIONS,
        "shape": shape.DECLARATIONS,
        "indexing": indexing.DECLARATIONS,
        "linalg": linalg.DECLARATIONS,
        "compositions": compositions.DECLARATIONS,
        "neural": neural.DECLARATIONS,
    }
)
"""Our own ops, by family."""

_TABLE: dict[str, OpSpec] = {}
OPS: Mapping[str, OpSpec] = MappingProxyType(_TABLE)
"""Name -> declaration, of our ops and of those that third parties registered."""


def declare(spec: OpSpec) -> OpSpec:
    """Append a declaration to the table. Raises ValueError for a name that is taken."""
    if spec.name in _TABLE:
        raise ValueError(f"two declarations of the op {spec.name!r}")
    _TABLE[spec.name] = spec
    return spec


for _family in FAMILIES.values():
    for _spec in _family:
        declare(_spec)
_OURS = frozenset(_TABLE)


def withdraw(name: str) -> None:
    """Take a third party's op out of the table. Raises KeyError for any other name."""
    if name in _OURS or name not in _TABLE:
        raise KeyError(name)
    del _TABLE[name]


__all__ = ["FAMILIES", "OPS"]
