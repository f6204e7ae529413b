"""docs/design.md is true: its rooms and places exist, and a toy of each kind joins by public names alone."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradverify
from gradverify import Case, Outcome, judge_case

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gradverify"
PAGE = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def rows(title: str) -> list[list[str]]:
    """The rows of the table in a section, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def case_of(expression: str, **inputs: list[float]) -> Case:
    from gradverify.spec.from_expression import expression_case

    return expression_case(expression, inputs)


# ---- the page -------------------------------------------------------------------------------------------------------


def test_the_rooms_are_the_folders() -> None:
    told = {name.rstrip("/") for row in rows("Rooms, from the ground up") for name in quoted(row[0])}
    folders = {p.name for p in PACKAGE.iterdir() if (p / "__init__.py").exists()}
    faces = {"api.py", "torch.py", "jax.py", "autograd.py"}
    assert told == folders | faces


def test_the_order_of_the_rooms_is_that_of_the_layers() -> None:
    from .test_imports import LEVEL

    told = [
        name.rstrip("/").removesuffix(".py") for row in rows("Rooms, from the ground up") for name in quoted(row[0])
    ]
    levels = [LEVEL[name] for name in told]
    assert levels == sorted(levels)


PLACES = sorted({t for row in rows("Where a new thing goes") for cell in row for t in quoted(cell)})


@pytest.mark.parametrize("place", PLACES)
def test_a_place_exists(place: str) -> None:
    """A path below gradverify/ or the root, a public name, an entry point group, or a word of the row."""
    if "/" in place:
        base = ROOT if place.split("/")[0] in ("tests", "specs", "scripts", "docs") else PACKAGE
        assert list(base.glob(place)), place
        return
    if place.startswith("gradverify."):
        groups = re.findall(r'GROUP = "([^"]+)"', "\n".join(p.read_text() for p in PACKAGE.rglob("*.py")))
        if place in groups:
            return
        module, _, name = place.rpartition(".")
        assert hasattr(importlib.import_module(module), name), place
        return
    assert place in {"CaseLaw", "Probe", "numpy", "balls", "mp", "nudge"}, place


def test_every_outcome_stands_in_the_table_as_it_is() -> None:
    told = {row[0]: (row[2], row[3]) for row in rows("What a judgement comes to")}
    yes = {True: "yes", False: "no"}
    assert told == {str(o): (yes[o.gates], yes[bool(o)]) for o in Outcome}


# ---- a toy of each kind ---------------------------------------------------------------------------------------------


def test_a_toy_op() -> None:
    from gradverify.core.interval import Interval
    from gradverify.core.op import OpSpec
    from gradverify.namespaces import Kernel, Nudge, register_op, unregister_op
    from gradverify.ops.shapes import same

    def halved(x: Any) -> Any:
        return x / 2

    op = OpSpec(
        name="halved", define=lambda xp, x: xp.halved(x), vjp=(lambda xp, g, out, x: xp.halved(g),), doc="x / 2",
        example="halved(x)", shape=same, image=lambda x, **_: Interval(), primitive=True, ulps=0.5,
    )  # fmt: skip
    register_op(op, Kernel("halved", halved, halved, halved, Nudge.ULPS))
    try:
        assert judge_case(case_of("sum(halved(x) * x)", x=[1.5, -2.0]), "engine").outcome is Outcome.PASS
        wrong = OpSpec(**{**{f: getattr(op, f) for f in op.__dataclass_fields__}, "name": "halved_wrong",
                          "primitive": False, "define": lambda xp, x: xp.halved(x),
                          "vjp": (lambda xp, g, out, x: g,), "example": "halved_wrong(x)"})  # fmt: skip
        register_op(wrong)
        try:
            assert judge_case(case_of("sum(halved_wrong(x))", x=[1.5]), "engine").outcome is not Outcome.PASS
        finally:
            unregister_op("halved_wrong")
    finally:
        unregister_op("halved")


def toy_framework(factor: float) -> Any:
    """A framework that computes with the engine, and scales every gradient."""
    from gradverify import engine
    from gradverify.frameworks import Framework, Observation, compiled, lookup

    class Toy(Framework):
        name = "toy"
        dtypes = ("float64",)

        def unavailable(self) -> str | None:
            return None

        def function(self, graph: Any, dtype: str) -> Any:
            return compiled(graph, lookup({}, engine), lambda node: engine.tensor(node.value, dtype=engine.float64))

        def run_vjp(
            self, function: Any, values: Mapping[str, np.ndarray], wrt: tuple[str, ...],
            cotangent: tuple[np.ndarray, ...],
        ) -> Observation:  # fmt: skip
            leaves = {n: engine.tensor(v).requires_grad_(n in wrt) for n, v in values.items()}
            out = function(*leaves.values())
            found = engine.autograd.grad(out, [leaves[n] for n in wrt], engine.tensor(cotangent[0]))
            gradients = {n: factor * d.numpy() for n, d in zip(wrt, found)}
            return Observation(outputs=(out.detach().numpy(),), gradients=gradients)

    return Toy()


def test_a_toy_framework() -> None:
    case = case_of("exp(x) * x", x=[0.5, -1.0])
    assert judge_case(case, toy_framework(1.0)).outcome is Outcome.PASS
    assert judge_case(case, toy_framework(1.0 + 1e-9)).outcome is Outcome.FAIL


def test_a_toy_law() -> None:
    from dataclasses import replace

    from gradverify.judge.laws import CaseLaw, Trial, register_law, unregister_law

    def small(t: Trial) -> str:
        return "" if all(np.abs(g).max() < 2 for g in t.first.gradients.values() if g is not None) else "it is large"

    register_law(CaseLaw("small", "gradients are below 2", small))
    try:
        for x, outcome in ((0.25, Outcome.PASS), (1.75, Outcome.FAIL)):
            case = replace(case_of("x * x", x=[x]), invariants=("small",))
            case = replace(case, cotangent=(np.ones(1),))
            assert judge_case(case, "engine").outcome is outcome
    finally:
        unregister_law("small")


def test_a_toy_law_of_engines() -> None:
    from gradverify.conformance.engines import find
    from gradverify.conformance.law import law
    from gradverify.conformance.session import Session

    @law(needs={"tape"})
    def doubles(t: Session) -> None:
        """The gradient of x + x is 2."""
        x = t.tensor(3.0, requires_grad=True)
        (x + x).backward()
        t.equal(x.grad, 2.0)

    @law(needs={"tape"})
    def triples(t: Session) -> None:
        """The gradient of x + x is 3, which is wrong."""
        x = t.tensor(3.0, requires_grad=True)
        (x + x).backward()
        t.equal(x.grad, 3.0)

    assert doubles.check(find("engine")) is None
    assert triples.check(find("engine")) is not None


def test_a_toy_report(tmp_path: Path) -> None:
    from gradverify.report import targets

    def write(path: Path, data: dict[str, Any]) -> None:
        path.write_text(json.dumps([r["verdict"]["outcome"] for r in data["results"]]))

    targets.register_report("toy", write)
    try:
        (target,) = targets.targets([f"toy:{tmp_path / 'out'}"])
        target.write({"results": [{"verdict": {"outcome": "PASS"}}]})
        assert json.loads((tmp_path / "out").read_text()) == ["PASS"]
        with pytest.raises(ValueError, match="two formats"):
            targets.register_report("toy", write)
    finally:
        del targets._WRITERS["toy"]


def test_a_toy_listener() -> None:
    from gradverify.run.events import JobJudged, listening

    x = gradverify_engine_tensor()
    told: list[Any] = []
    with listening(told.append):
        gradverify.check(lambda x: x * x, x, effort="quick")
    (event,) = told
    assert isinstance(event, JobJudged)
    assert event.verdict.outcome is Outcome.PASS
    assert event.ok


def gradverify_engine_tensor() -> Any:
    from gradverify import engine

    return engine.tensor([1.5, -2.0], dtype=engine.float64, requires_grad=True)
