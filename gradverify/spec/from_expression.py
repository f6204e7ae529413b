"""A case from an expression and arrays: for checks that are written in Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.case import Case, Source
from ..core.graph import Input
from ..core.op import Kind
from ..namespaces.dtypes import is_float, rounded
from ..namespaces.run import float_inputs
from .expression import parse
from .values import signed


def expression_case(
    text: str, inputs: Mapping[str, Any], dtype: str = "float64", *, cotangent: Any = None, name: str = ""
) -> Case:
    """An expression of the spec language at the given inputs.

    inputs     name -> number, nested lists or array. Lists of numbers are floats, rounded to `dtype`; NumPy arrays of
               integers stay int64, booleans bool: neither is differentiated
    cotangent  in the output's shape; None: 1 for an output of no dimensions, else drawn as in spec files

    Raises SpecError for the expression, and ValueError or TypeError for what is no array of numbers.
    """
    arrays = {n: _array(n, v) for n, v in inputs.items()}
    kinds: dict[str, Kind] = {n: _KINDS.get(a.dtype.kind, "float") for n, a in arrays.items()}
    graph = parse(text, {n: (a.shape, kinds[n]) for n, a in arrays.items()})
    shape = graph.nodes[graph.outputs[0]].shape
    if cotangent is None:
        g = np.ones(()) if shape == () else signed(("gradverify", name or text, 0, "cotangent", 0), shape)
    else:
        g = np.broadcast_to(np.asarray(cotangent, dtype=np.float64), shape)
    values = {
        node.name: rounded(arrays[node.name], dtype) if node.kind == "float" else arrays[node.name]
        for node in graph.nodes
        if isinstance(node, Input)
    }
    return Case(name or text, graph, values, (rounded(g, dtype),), dtype, float_inputs(graph), source=Source("api"))


_KINDS: Mapping[str, Kind] = {"f": "float", "i": "int", "b": "bool"}


def _array(name: str, value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind == "b":
        return array
    if array.dtype.kind in "iu" and isinstance(value, np.ndarray | np.generic):
        return array.astype(np.int64)
    if array.dtype.kind not in "iu" and not is_float(array):
        raise TypeError(f"{name} must be numbers or booleans, not {array.dtype}")
    return array.astype(np.float64)
