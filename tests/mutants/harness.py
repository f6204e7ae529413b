"""Mutants put into a subject, and the cases that everyone gets: nothing here knows which mutant it is looking for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path

from gradverify.core.case import Case
from gradverify.core.graph import Apply, Graph
from gradverify.engine import rules
from gradverify.frameworks import Framework
from gradverify.frameworks.engine.adapter import EngineFramework
from gradverify.frameworks.torch.adapter import TorchFramework
from gradverify.generate.campaign import seeded_cases
from gradverify.ops import OPS
from gradverify.ops.build import lowered
from gradverify.ops.complex.lowering import is_complex
from gradverify.spec.document import load

from .mutant import Mutant

SPECS = Path(__file__).parents[2] / "specs"

COMPANIONS = ("add", "multiply", "exp", "sin", "sum", "permute_dims", "broadcast_to")
"""Random graphs are drawn from the op and these, so that the op meets reuse, broadcasting and strided cotangents."""


def subject_with(mutant: Mutant) -> tuple[Framework, AbstractContextManager[None]]:
    """A subject that runs the mutant in place of its op, while the context is open."""
    if mutant.function is not None:
        return TorchFramework(table={mutant.op: mutant.function()}), nullcontext()
    return EngineFramework(), engine_with(mutant)


@contextmanager
def engine_with(mutant: Mutant) -> Iterator[None]:
    """The engine's rule of the op reads the mutated declaration; the op table, which the oracle reads, stays right."""
    assert mutant.spec is not None
    rule = rules.rule(mutant.op)
    right, plans, broadcasts = rule.spec, rule.plans, rule.broadcasts
    rule.spec, rule.plans = mutant.spec(OPS[mutant.op]), {}
    rule.broadcasts = rule.spec.broadcasts
    try:
        yield
    finally:
        rule.spec, rule.plans, rule.broadcasts = right, plans, broadcasts


def applies(graph: Graph, op: str) -> bool:
    graphs = (graph,) if is_complex(graph) else (graph, lowered(graph))
    return any(isinstance(n, Apply) and n.op == op for g in graphs for n in g.nodes)


@cache
def shipped(dtype: str = "float64") -> tuple[Case, ...]:
    """The cases of specs/ in `dtype` that are about no wrong claim and no user's function."""
    specs = (c for path in sorted(SPECS.glob("*.grad.yaml")) for c in load(path).cases)
    wanted = (c for c in specs if c.expect == "pass" and c.function is None and dtype in c.dtypes)
    return tuple(c.case(dtype) for c in wanted)


def natural_cases(op: str, random: int = 300, dtype: str = "float64") -> Iterator[Case]:
    """The shipped cases in which the op occurs, then random graphs with it: half of them with zeros and ties."""
    yield from (case for case in shipped(dtype) if applies(case.graph, op))
    for kinks in (False, True):
        for case in seeded_cases(0, random, dtype, ops=(op, *COMPANIONS), max_ops=5, kinks=kinks):
            if applies(case.graph, op):
                yield case
