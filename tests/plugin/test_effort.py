"""The effort of a run of pytest: from its command line, or its ini file."""

from __future__ import annotations

import os

import pytest

from gradverify.run.config import EFFORT

pytest_plugins = ["pytester"]

SUITE = """
import os

def test_it():
    assert os.environ.get("GRADVERIFY_EFFORT") == {wanted!r}
"""


@pytest.mark.parametrize(
    ("arguments", "ini", "wanted"),
    [((), "", None), (("--gradverify-effort=quick",), "thorough", "quick"), ((), "quick", "quick")],
)
def test_pytest_sets_it_for_the_run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], ini: str, wanted: str | None
) -> None:
    monkeypatch.delenv(EFFORT, raising=False)
    pytester.makepyfile(SUITE.format(wanted=wanted))
    if ini:
        pytester.makeini(f"[pytest]\ngradverify_effort = {ini}\n")
    pytester.runpytest_inprocess(*arguments, "-p", "no:cacheprovider").assert_outcomes(passed=1)
    assert EFFORT not in os.environ
