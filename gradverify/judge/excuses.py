"""Known formulas as an op table: which declared `Form`s a graph is computed with, and the texts that replace the table's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..core.graph import Apply, Graph
from ..frameworks.base import Form
from ..namespaces.run import Table
from ..ops import OPS
from ..ops.build import lowered


def with_forms(graph: Graph, declared: Mapping[str, Form], dtype: str) -> tuple[Table, str]:
    """Return the op table with the forms' texts, and the reasons of the forms that the graph uses, or ""."""
    forms = {op: f for op, f in declared.items() if f.dtypes is None or dtype in f.dtypes}
    table = dict(OPS)
    for op, form in forms.items():
        table[op] = replace(OPS[op], vjp=form.vjp or OPS[op].vjp, define=form.define or OPS[op].define)
    # A composite op may be made of one that has a form.
    nodes = (*graph.nodes, *lowered(graph, table).nodes) if forms else ()
    used = sorted({n.op for n in nodes if isinstance(n, Apply)} & set(forms))
    return table, "; ".join(f"{op}: {forms[op].reason}" for op in used)
