"""Every law on every engine that is installed; and what a law must be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gradverify.conformance import engines, scorecard
from gradverify.conformance import laws as built_in
from gradverify.conformance.deviations import DEVIATIONS
from gradverify.conformance.engines import CAPABILITIES, ENGINES, Engine
from gradverify.conformance.law import law, laws
from gradverify.conformance.register import BUILT_IN
from gradverify.conformance.scorecard import Standing, judge
from gradverify.conformance.session import Lacks, Session

from .broken import BROKEN

PAGE = Path(__file__).parent.parent.parent / "docs" / "conformance.md"

INSTALLED = [e for e in ENGINES.values() if e.unavailable() is None]


@pytest.mark.parametrize("engine", INSTALLED, ids=lambda e: e.name)
def test_laws_hold_or_are_known_deviations(engine: Engine) -> None:
    card = scorecard.scorecard(engine)
    assert card.ok, "\n".join(scorecard.text(card))
    assert card.counts()[Standing.HOLDS] >= 8  # micrograd's, which has the least


def test_the_engine_keeps_all_laws() -> None:
    card = scorecard.scorecard(ENGINES["engine"])
    here = [law for law in laws().values() if "gpu" not in law.needs]
    assert card.counts() == {Standing.HOLDS: len(here), Standing.LACKS: len(laws()) - len(here)}


@pytest.mark.parametrize("made", laws().values(), ids=lambda m: m.name)
def test_a_law_says_what_it_means_and_who_documents_it(made: object) -> None:
    assert made.doc.endswith(".")  # type: ignore[attr-defined]
    assert made.source  # type: ignore[attr-defined]


def test_every_family_is_listed_and_has_laws() -> None:
    """One list: a module of laws that it does not name would never be imported."""
    here = {path.stem for path in Path(built_in.__file__).parent.glob("*.py")} - {"__init__"}
    assert set(built_in.FAMILIES) == here == {made.family for made in BUILT_IN.values()}
    assert len(built_in.FAMILIES) == len(here)
    families = [made.family for made in laws().values() if made.name in BUILT_IN]
    assert families == sorted(families, key=built_in.FAMILIES.index)


def test_no_engine_lacks_what_it_says_it_has() -> None:
    """A law whose needs are met never meets a missing spelling: it would count as broken."""
    for engine in INSTALLED:
        for made in laws().values():
            if not made.missing(engine):
                try:
                    made.program(Session(engine))
                except Lacks as e:
                    pytest.fail(f"{engine.name} says it has {set(made.needs)}, but lacks {e} for {made.name}")
                except Exception:
                    pass
                finally:
                    Session(engine).restore()


def test_every_capability_is_needed_by_a_law() -> None:
    assert set(CAPABILITIES) == set().union(*(m.needs for m in laws().values()))


def test_deviations_name_laws_and_engines() -> None:
    assert scorecard.unknown_deviations() == []
    assert {d.engine for d in DEVIATIONS} <= set(ENGINES)


@pytest.mark.parametrize("deviation", DEVIATIONS, ids=lambda d: f"{d.engine}-{d.law}")
def test_the_script_of_a_deviation_fails_in_a_process_of_its_own(deviation: object) -> None:
    engine = engines.find(deviation.engine)  # type: ignore[attr-defined]
    if engine.unavailable():
        pytest.skip(engine.unavailable() or "")
    broken = laws()[deviation.law].check(engine)  # type: ignore[attr-defined]
    assert broken is not None
    assert len(broken.script) <= 8
    code = "\n".join(broken.script)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.rstrip().splitlines()[-1].startswith(("AssertionError", "RuntimeError"))


def test_a_law_of_a_third_party() -> None:
    @law(needs={"tape"}, source="nobody")
    def doubles(t: Session) -> None:
        """Wrong on purpose."""
        x = t.tensor(3.0, requires_grad=True)
        (x * x).backward()
        t.equal(x.grad, 12.0)

    assert doubles.name not in laws()  # it comes by entry point, not by being declared
    broken = doubles.check(ENGINES["engine"])
    assert broken is not None
    assert broken.script[-1] == "assert x.grad.tolist() == 12.0  # got 6.0"


THIRD_PARTY = '''
from gradverify.conformance.law import law

@law(needs={"tape"}, source="https://example.org/why")
def doubling_is_adding(t):
    """Twice a value has the gradient of the value added to itself."""
    x = t.tensor(3.0, requires_grad=True)
    (x * 2.0).backward()
    (x + x).backward()
    t.equal(x.grad, 4.0)
'''


def test_a_law_of_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert THIRD_PARTY.strip() in PAGE.read_text(encoding="utf-8")
    (tmp_path / "their_autograd_laws.py").write_text(THIRD_PARTY)
    info = tmp_path / "their_autograd_laws-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-autograd-laws\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[gradverify.laws]\ndoubling = their_autograd_laws:doubling_is_adding\n")
    monkeypatch.syspath_prepend(tmp_path)
    laws.cache_clear()
    try:
        found = laws()["doubling_is_adding"]
        assert found.family == "their_autograd_laws"
        assert list(laws())[-1] == found.name
        assert judge(found, ENGINES["engine"]).standing is Standing.HOLDS
        broken = next(b for b in BROKEN if b.name == "overwrites_grad").load()
        assert judge(found, broken).script[-1] == "assert x.grad.tolist() == 4.0  # got 2.0"
    finally:
        laws.cache_clear()


def test_a_law_leaves_the_process_as_it_was() -> None:
    import gradverify.engine as torch

    @law(needs={"modes"}, source="nobody")
    def leaks(t: Session) -> None:
        """Switches recording off and fails."""
        t.set_grad_enabled(False)
        t.equal(t.tensor(1.0), 2.0)

    assert leaks.check(ENGINES["engine"]) is not None
    assert torch.is_grad_enabled()
