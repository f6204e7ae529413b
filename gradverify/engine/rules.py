"""From an op's declaration to what the engine needs in order to run and record it.

The one idea: nothing here knows how to differentiate. A `Rule` takes the kernel (`define`) and the VJP texts from the op
table, and what is PyTorch's (node name, dtype rule, view or not) from the op's record in `op_facts`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from ..core.errors import UnknownName
from ..core.op import OpSpec
from ..ops import OPS
from . import wirtinger
from .kernels import KERNELS, Kernels, by_blocks
from .local_ops import LOCAL, spec_of
from .op_facts import Complex, Names, Promotion, Saves, facts_of, node_name
from .reads import Read, Reads, analyse_reads, declared_reads


@dataclass(slots=True)
class Plan:
    """What to keep on the tape, given which arguments are to get cotangents.

    wanted   (argument, its rule) for those arguments
    values   arguments whose value a wanted rule reads
    shapes   arguments of which it reads the shape only
    output   how it reads the output
    saves    is there anything to save? `keeps`: anything of value, that backward has to free afterwards?
    everything  is every argument kept by value? `blank`: what is saved where nothing is
    pull     (xp, g, output, saved values, parameters) -> the cotangents, as the rules give them
    node     the class of the nodes made by this plan; None before the first one, and where its name depends on the call
    nodes    the classes by name
    """

    wanted: tuple[tuple[int, Callable[..., Any]], ...]
    values: tuple[int, ...]
    shapes: tuple[int, ...]
    output: Read
    saves: bool
    keeps: bool
    everything: bool
    blank: tuple[None, ...]
    pull: Callable[[Kernels, Any, Any, Sequence[Any], Mapping[str, Any]], list[Any]]
    node: type | None = None
    nodes: dict[str, type] = field(default_factory=dict)


def _pull(wanted: Sequence[tuple[int, Callable[..., Any]]], n: int) -> Callable[..., list[Any]]:
    """One function of all the VJPs that are wanted. Few calls are what most ops are made of: one or two arguments."""
    if n == 1:
        ((_, vjp),) = wanted
        return lambda xp, g, out, saved, params: [vjp(xp, g, out, saved[0], **params)]
    if n == 2 and len(wanted) == 2:
        (_, first), (_, second) = wanted
        return lambda xp, g, out, saved, params: [
            first(xp, g, out, *saved, **params),
            second(xp, g, out, *saved, **params),
        ]

    def pull(xp: Kernels, g: Any, out: Any, saved: Sequence[Any], params: Mapping[str, Any]) -> list[Any]:
        grads: list[Any] = [None] * n
        for i, vjp in wanted:
            grads[i] = vjp(xp, g, out, *saved, **params)
        return grads

    return pull


class Rule:
    """One op, ready to run and to record.

    kernel      the forward computation, over arrays
    promotion   how operands are brought to one dtype
    node_name   PyTorch's name of the backward node, or a function of the call
    frozen      arguments that have no cotangent
    leaves      (edges, arguments, result): gives a result of plain dtypes its node; by that set (see `dispatch.leaver`)
    plans       what to keep, by the set (a bit mask) of arguments that are to get cotangents
    wirtinger   is the rule written for complex cotangents, rather than for reals? (See `wirtinger`.)
    """

    def __init__(self, spec: OpSpec, node_name: Names, saves: Saves | None) -> None:
        self.spec, self.name, self.node_name = spec, spec.name, node_name
        facts = facts_of(spec.name)
        self.params = {n: p.default for n, p in spec.params.items() if not p.required}
        self._passes = facts.passes
        self.kernel = self.kernel_in(KERNELS)
        self.differentiable, self.broadcasts = spec.result == "float", spec.broadcasts
        self.composite, self.primitive = spec.composite, spec.primitive
        self.frozen = {i for i, v in enumerate(spec.vjp) if v is None} if isinstance(spec.vjp, tuple) else set()
        self.promotion, self.counts = facts.promotion, facts.counts
        self.computes = facts.promotion is not Promotion.KEEP or facts.adds
        self.view, self.indexes = facts.view, facts.indexes
        self.leaves: dict[int, Callable[[Sequence[Any], tuple[Any, ...], Any], None]] = {}
        self.plans: dict[int | tuple[int, int], Plan] = {}  # of ops of any arity: by (mask, number of arguments)
        self.wirtinger = facts.complex is Complex.WIRTINGER
        self._complex = facts.complex
        self._declared = spec, saves
        self._on_complex: Rule | None = None

    def on_complex(self, dtype: np.dtype) -> Rule:
        """The rule for complex arguments: this one, or the op's form. Raises PyTorch's error where there is none."""
        if self._on_complex is None:
            if self._complex is Complex.REFUSED:
                raise wirtinger.refusal(self.name, dtype)
            self._on_complex = self._form() if self._complex is Complex.FORM else self
        return self._on_complex

    def _form(self) -> Rule:
        form = wirtinger.FORMS[self.name]
        rule = Rule(form.spec, self.node_name, form.saves)
        rule.wirtinger, rule._on_complex = not form.holomorphic, rule
        rule.kernel = partial(form.spec.define, KERNELS)
        return rule

    def kernel_in(self, xp: Kernels) -> Callable[..., Any]:
        """The kernel of the op's name, if it takes the op's arguments as they are; else the definition."""
        has_own = self.spec.arity >= 0 and (self.spec.primitive or hasattr(Kernels, self.name))
        own = getattr(xp, self.name, None) if has_own else None
        if own is not None:
            return own
        definition = partial(self.spec.define, xp)
        return by_blocks(definition, 0) if self._passes else definition

    def plan(self, wanted: int, n: int) -> Plan:
        """The plan for a call with n arguments of which those in the mask `wanted` are to get cotangents."""
        key = wanted if self.spec.arity >= 0 else (wanted, n)
        if key in self.plans:
            return self.plans[key]
        output, how = Read.NOTHING, [Read.NOTHING] * n
        texts = []
        for i in range(n):
            if wanted >> i & 1:
                texts.append((i, self.vjp_of(i)))
                found = self.reads(i, n)
                output = max(output, found.output)
                how = [max(a, b) for a, b in zip(how, found.arguments)]
        values, shapes = (tuple(k for k, h in enumerate(how) if h is r) for r in (Read.VALUE, Read.SHAPE))
        saves = bool(values or shapes or output)
        keeps = bool(values) or output is Read.VALUE or self.indexes
        everything, pull = len(values) == n, _pull(texts, n) if texts else lambda *_: [None] * n
        plan = Plan(tuple(texts), values, shapes, output, saves, keeps, everything, (None,) * n, pull)
        self.plans[key] = plan
        return plan

    def reads(self, i: int, n: int) -> Reads:
        """What the VJP of argument `i` of n reads: as declared, or else by analysis of its text."""
        spec, saves = self._declared
        if saves is not None and spec is self.spec:  # a rule under test may have another declaration in its place
            return declared_reads(saves, i, n)
        return analyse_reads(self.spec, i, n)

    def linear_in(self, i: int, n: int) -> bool:
        """Is the op linear in argument `i`, up to a constant?

        It is, if the VJP reads neither the argument nor the output.
        Not for elementwise ops: those of slope 0 (floor) read nothing either.
        """
        found = self.reads(i, n)
        return found.output is not Read.VALUE and found.arguments[i] is not Read.VALUE

    def vjp_of(self, i: int) -> Callable[..., Any]:
        """The VJP of argument `i`, as a function (xp, g, out, *args, **params)."""
        vjp = self.spec.vjp
        if isinstance(vjp, tuple):
            text = vjp[i]
            assert text is not None, f"argument {i} of {self.name} has no cotangent"
            return by_blocks(text, 1) if self._passes else text
        assert vjp is not None, f"{self.name} is a composition"
        return lambda xp, g, out, *args, **params: vjp(xp, i, g, out, *args, **params)


_rules: dict[tuple[str, str | None], Rule] = {}


def rule(name: str, node: str | None = None) -> Rule:
    """The rule of an op; `node` is the name of its backward node, if PyTorch has another one here.

    Raises UnknownName.
    """
    found = _rules.get((name, node))
    if found is None:
        spec = spec_of(name)
        if spec is None:
            raise UnknownName("op", name, [*OPS, *LOCAL])
        found = _rules[name, node] = Rule(spec, node or node_name(name), facts_of(name).saves)
        _by_kernel.setdefault(found.kernel, found)
    return found


_by_kernel: dict[Callable[..., Any], Rule] = {}


def rule_of(kernel: Callable[..., Any]) -> Rule | None:
    """The rule that runs this kernel, the first one of several; None where none does."""
    return _by_kernel.get(kernel)
