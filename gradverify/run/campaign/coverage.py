"""What a judged case takes: ops, pairs of ops, dtypes, layouts, sorts of sizes, and lines of our own code.

A feature is a text. A corpus keeps a graph for each feature that no graph before it had (`corpus`).
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np

from ...core.case import Case
from ...core.graph import Apply, Constant, Input
from ...core.op import Shape
from ...core.verdict import Verdict

PACKAGE = Path(__file__).parents[2]

ROOMS = tuple(f"{PACKAGE / name}/" for name in ("ops", "namespaces", "engine", "oracle", "judge", "frameworks"))
"""Where lines count: the op table, what runs it, the judge, and the subjects as far as they are written in Python."""


def sort_of(shape: Shape) -> str:
    """A shape with n for every length but 0 and 1."""
    return f"[{', '.join(str(n) if n < 2 else 'n' for n in shape)}]"


def of_case(case: Case, subject: str) -> set[str]:
    """The features of a graph and its values: per op its dtype on the subject, sorts of shapes, parameters, neighbours."""
    nodes = case.graph.nodes
    uses = Counter(a for node in nodes if isinstance(node, Apply) for a in set(node.args))
    found = set()
    for k, node in enumerate(nodes):
        if not isinstance(node, Apply):
            continue
        op = node.op
        found |= {f"op {op} {case.dtype} {subject}", f"uses {op} {min(uses[k], 2)}"}
        found.add(f"size {op} {' '.join(sort_of(nodes[a].shape) for a in node.args)}")
        found |= {f"parameter {op} {name} {_sort_of_parameter(value)}" for name, value in node.params}
        if len(set(node.args)) < len(node.args):
            found.add(f"twice {op}")
        for i, a in enumerate(node.args):
            found.add(f"pair {_name(nodes[a], case)} {op} {i}")
    found |= {f"cotangent {_layout(np.asarray(g))} {sort_of(g.shape)}" for g in case.cotangent}
    return found


def of_verdict(verdict: Verdict, order: int) -> set[str]:
    """How it came out, and of which order."""
    kind, reason = verdict.kind or "", verdict.reason.name if verdict.reason else ""
    return {f"verdict {order} {verdict.outcome} {kind} {reason} {verdict.known}"}


def _name(node: Any, case: Case) -> str:
    if isinstance(node, Apply):
        return node.op
    if isinstance(node, Constant):
        return "constant"
    assert isinstance(node, Input)
    return f"{node.kind} {_layout(np.asarray(case.values[node.name]))}"


def _layout(array: np.ndarray) -> str:
    if 0 in array.strides and array.size > 1:
        return "expanded"
    return "row-major" if array.flags.c_contiguous else "column-major" if array.flags.f_contiguous else "strided"


def _sort_of_parameter(value: Any) -> str:
    return str(value) if value is None or isinstance(value, bool | str) else type(value).__name__


_told: set[str] = set()


def told(features: set[str]) -> list[str]:
    """The features, if this process has not told all of them before; what is nothing new is not sent."""
    if features <= _told:
        return []
    _told.update(features)
    return sorted(features)


@contextmanager
def lines() -> Iterator[set[str]]:
    """The lines (from Python 3.14 on, the branches as well) of ROOMS that this process runs in the block for the first time.

    Always empty before Python 3.12. A trace function would do there, but it refers to all locals of a frame, and the
    engine's walk, which counts references, would take other ways than unwatched.
    """
    taken: set[str] = set()
    monitoring: Any = getattr(sys, "monitoring", None)
    if monitoring is None or not _take_tool(monitoring):
        yield taken
        return
    events = monitoring.events
    branches = [getattr(events, name) for name in ("BRANCH_LEFT", "BRANCH_RIGHT") if hasattr(events, name)]

    def see_line(code: CodeType, line: int) -> object:
        if code.co_filename.startswith(ROOMS):
            taken.add(f"line {_place(code)} {line - code.co_firstlineno}")
        return monitoring.DISABLE  # of this place: another run of it costs nothing

    def see_branch(code: CodeType, offset: int, to: int) -> object:
        if code.co_filename.startswith(ROOMS):
            taken.add(f"branch {_place(code)} {offset} {to}")
        return monitoring.DISABLE

    monitoring.register_callback(TOOL, events.LINE, see_line)
    for event in branches:
        monitoring.register_callback(TOOL, event, see_branch)
    monitoring.set_events(TOOL, events.LINE | sum(branches))
    try:
        yield taken
    finally:
        monitoring.set_events(TOOL, 0)


TOOL = 4
"""The interpreter has six numbers for tools; 0 to 2 and 5 are for debuggers, coverage, profilers and optimisers."""

NAME = "gradverify-corpus"


def _take_tool(monitoring: Any) -> bool:
    """Is the tool's number ours?"""
    holder = monitoring.get_tool(TOOL)
    if holder is None:
        monitoring.use_tool_id(TOOL, NAME)
    return holder in (None, NAME)


def _place(code: CodeType) -> str:
    return f"{code.co_filename.removeprefix(str(PACKAGE))[1:]} {code.co_qualname}"
