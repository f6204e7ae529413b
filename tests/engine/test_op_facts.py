"""The engine's records of ops: every word in them is known, and what they declare of a VJP is what its text reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

import gradverify.engine as engine
from gradverify.core.op import OpSpec
from gradverify.engine import wirtinger
from gradverify.engine.api.methods import IN_PLACE, METHODS_ONLY, NOT_METHODS
from gradverify.engine.local_ops import LOCAL
from gradverify.engine.op_facts import FACTS, Complex, OpFacts, Saves
from gradverify.engine.reads import analyse_reads, declared_reads
from gradverify.engine.rules import Rule, rule
from gradverify.ops import OPS

OTHERWISE: dict[str, str] = {}
"""Ops of which `saves` declares other than the analysis finds, each with its reason."""


def declarations() -> Iterator[tuple[str, OpSpec, Saves | None]]:
    yield from ((name, spec, FACTS.get(name, OpFacts()).saves) for name, spec in (*OPS.items(), *LOCAL.items()))
    yield from ((f"{name}, complex", form.spec, form.saves) for name, form in wirtinger.FORMS.items())


WITH_RULE = [d for d in declarations() if d[1].vjp is not None and d[1].result == "float"]


@pytest.mark.parametrize(("name", "spec", "saves"), WITH_RULE, ids=[d[0] for d in WITH_RULE])
def test_a_vjp_reads_what_its_record_declares(name: str, spec: OpSpec, saves: Saves | None) -> None:
    assert saves is not None, "declare what the VJPs read"
    n = spec.arity if spec.arity >= 0 else 3
    wanted = [i for i in range(n) if not isinstance(spec.vjp, tuple) or spec.vjp[i] is not None]
    assert len(saves) == (n if spec.arity >= 0 else 1)
    differ = [i for i in wanted if declared_reads(saves, i, n) != analyse_reads(spec, i, n)]
    assert bool(differ) == (name in OTHERWISE), f"the VJPs of arguments {differ} read something else"


def test_what_has_no_vjp_declares_no_reads() -> None:
    assert not [name for name, spec, saves in declarations() if spec.vjp is None and saves is not None]


def test_a_wrong_declaration_would_be_seen() -> None:
    spec = OPS["multiply"]
    assert declared_reads(("b", "a"), 0, 2) == analyse_reads(spec, 0, 2)
    assert declared_reads(("a", "a"), 0, 2) != analyse_reads(spec, 0, 2)
    assert declared_reads(("b.shape", "a"), 0, 2) != analyse_reads(spec, 0, 2)
    with pytest.raises(ValueError, match="substring"):
        declared_reads(("x", "a"), 0, 2)


def test_another_declaration_in_the_place_of_an_op_is_analysed() -> None:
    """A mutant may read what the right rule does not."""
    r = Rule(OPS["add"], "AddBackward0", FACTS["add"].saves)
    assert r.plan(0b01, 2).values == ()
    mutant = replace(r.spec, vjp=(lambda xp, g, out, x, y: g * y, lambda xp, g, out, x, y: g))
    r.spec, r.plans = mutant, {}
    assert r.plan(0b01, 2).values == (1,)


def test_an_op_without_a_record_is_analysed() -> None:
    spec = replace(OPS["multiply"], name="toy")
    r = Rule(spec, "ToyBackward0", None)
    assert r.plan(0b11, 2).values == (0, 1)


def test_every_record_is_of_an_op() -> None:
    assert not set(FACTS) - set(OPS) - set(LOCAL)


def test_no_record_says_what_the_default_says() -> None:
    assert not [name for name, facts in FACTS.items() if facts == OpFacts()]
    usual = {name: "".join(part.capitalize() for part in name.split("_")) + "Backward0" for name in FACTS}
    assert not [name for name, facts in FACTS.items() if facts.node == usual[name]]


def test_every_name_that_a_record_gives_is_a_function() -> None:
    for name, facts in FACTS.items():
        for function in (*facts.functions.split(), *facts.in_place.split()):
            assert callable(getattr(engine, function)), f"{name}: {function}"
    for function in IN_PLACE:
        assert callable(getattr(engine.Tensor, f"{function}_"))
    assert not [name for name in NOT_METHODS if not callable(getattr(engine, name))]
    assert all(hasattr(family, name) for family, names in METHODS_ONLY.items() for name in names.split())


def test_forms_and_refusals_are_of_ops_that_have_them() -> None:
    assert set(wirtinger.FORMS) == {name for name, facts in FACTS.items() if facts.complex is Complex.FORM}
    assert set(wirtinger.OPS) == {name for name, facts in FACTS.items() if facts.complex is Complex.WIRTINGER}
    refused = {name for name, facts in FACTS.items() if facts.refusal is not None or facts.cpu_kernel}
    assert {FACTS[name].complex for name in refused} == {Complex.REFUSED}
    assert not set(wirtinger.FUNCTION_REFUSALS) & (set(OPS) | set(LOCAL))


def test_views_are_ops_of_one_argument() -> None:
    assert {rule(name).spec.arity for name, facts in FACTS.items() if facts.view} == {1}
