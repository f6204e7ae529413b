"""The op table: `OPS`, name to declaration. To add an op, declare it in the module of its family; nothing else.

Third parties add theirs under the entry point `gradverify.ops` (a sequence of OpSpec); see `gradverify.testing.check_op`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from ..core.op import OpSpec
from . import compositions, elementwise, indexing, linalg, neural, reduction, shape, special


def _table(*families: Iterable[OpSpec]) -> Mapping[str, OpSpec]:
    table: dict[str, OpSpec] = {}
    for family in families:
        for spec in family:
            if spec.name in table:
                raise ValueError(f"two declarations of the op {spec.name!r}")
            table[spec.name] = spec
    return MappingProxyType(table)


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

OPS: Mapping[str, OpSpec] = _table(*FAMILIES.values())

__all__ = ["FAMILIES", "OPS"]
