"""The pytest plugin's door: options, the marker and the fixture. What works behind them is imported with the flag.

pytest imports this module in every run of every project that has gradverify installed, so it imports nothing itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .fixture import Gradverify

# Option, ini type, metavar, help. Each is --gradverify-NAME on the command line and gradverify_NAME in the ini file.
OPTIONS = (
    ("subjects", "args", "NAMES", "what to judge, comma-separated: engine, torch, jax (default: the installed ones)"),
    ("dtypes", "args", "NAMES", "dtypes, comma-separated (default: as the spec says, else float32,float64)"),
    ("device", "string", "NAME", "cpu or cuda (default: cpu)"),
    ("examples", "string", "N", "random graphs per subject and dtype (default: none)"),
    ("seed", "string", "N", "of everything that is drawn (default: 0)"),
    ("fail-on", "args", "OUTCOMES", "what gates: `fail, weak`, `fail:wrong`, all, none (default: fail)"),
    ("effort", "string", "NAME", "of checks that say none: quick stays at the given point; normal; thorough"),
    ("watch", "string", "WHAT", "custom gradients to record while the tests run, and to judge: project, all, off, "
                                "or patterns of names (default: project with --gradverify, else off)"),
    ("watch-seconds", "string", "S", "for judging what was recorded (default: 30, or a tenth of the suite's time)"),
    ("watch-samples", "string", "N", "recorded calls of one custom gradient (default: 24)"),
    ("watch-limit", "string", "S", "for judging one recorded call (default: 10)"),
    ("watch-memory", "string", "MB", "that all recorded calls may take (default: 256)"),
    ("isolate", "string", "S", "judge specs and random graphs in another process, with S seconds for a case: a crash or a "
                               "hang costs one item (default: in this process)"),
    ("profile", "string", "NAME", "settings: dev, ci, thorough, or one of the project's own"),
    ("baseline", "string", "FILE", "a JSON report of before: what is new, or has lost more digits, fails"),
    ("report", "linelist", "FORMAT:PATH", "write a report: json, html, junit, sarif or markdown; may be repeated"),
)  # fmt: skip

MARKER = (
    "gradverify(subjects, dtypes, device, seed, strict, fail_on): a test that judges gradients; "
    "the arguments are settings of its `gradverify` fixture"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("gradverify", "gradverify: is this gradient right?")
    group.addoption("--gradverify", action="store_true", default=None,
                    help="judge the *.grad.yaml files, random graphs on each subject, and the custom gradients of this "
                         "project that its tests run (--gradverify-watch)")  # fmt: skip
    group.addoption("--gradverify-strict", action="store_true", default=None, help="every outcome but PASS fails")
    group.addoption(
        "--gradverify-cache",
        action="store_true",
        default=None,
        help="do not judge again the cases of specs that passed before, and depend on nothing that changed",
    )
    group.addoption("--gradverify-conformance", default=None, metavar="ENGINES",
                    help="check the laws of autograd on these engines: engine, torch, micrograd, …")  # fmt: skip
    parser.addini("gradverify", "as if --gradverify were given", type="bool", default=False)
    parser.addini("gradverify_cache", "as if --gradverify-cache were given", type="bool", default=False)
    parser.addini("gradverify_strict", "as if --gradverify-strict were given", type="bool", default=False)
    for name, kind, metavar, text in OPTIONS:
        action = "append" if name == "report" else "store"
        group.addoption(f"--gradverify-{name}", action=action, default=None, metavar=metavar, help=text)
        parser.addini(f"gradverify_{name.replace('-', '_')}", text, type=kind, default=None)  # type: ignore[arg-type]


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Start watching before a conftest.py imports what is to be watched."""
    if _watches(early_config, early_config.known_args_namespace):
        from .watch import start

        start(early_config, early_config.known_args_namespace)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)
    _set_effort(config)
    watches, judges = _watches(config, config.option), _judges(config, config.option)
    if judges or watches:
        from .active import activate

        activate(config, specs=judges)
    if watches:
        from .watch import activate as activate_watch

        activate_watch(config)
    if config.option.gradverify_conformance:
        from .conformance import activate as activate_conformance

        activate_conformance(config)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where a test fails by a verdict, report the verdict, and not what pytest makes of `assert check(...)`."""
    report = yield
    if report.failed and call.excinfo is not None and "gradverify.run.gate" in sys.modules:
        from .failures import explain

        explain(item, call.excinfo, report)
    return report


def _judges(config: pytest.Config, options: Any) -> bool:
    """Are spec files and random graphs judged?"""
    return bool(options.gradverify or config.getini("gradverify"))


def _watches(config: pytest.Config, options: Any) -> bool:
    """Are custom gradients recorded and judged?"""
    word = options.gradverify_watch or config.getini("gradverify_watch")
    return word != "off" if word else _judges(config, options)


def _set_effort(config: pytest.Config) -> None:
    """Set GRADVERIFY_EFFORT from the command line, or else from the ini file, until the run ends."""
    before = os.environ.get("GRADVERIFY_EFFORT")
    given = config.option.gradverify_effort or (before or config.getini("gradverify_effort"))
    if given and given != before:
        os.environ["GRADVERIFY_EFFORT"] = given
        config.add_cleanup(lambda: _restore_effort(before))


def _restore_effort(before: str | None) -> None:
    if before is None:
        os.environ.pop("GRADVERIFY_EFFORT", None)
    else:
        os.environ["GRADVERIFY_EFFORT"] = before


@pytest.fixture
def gradverify(request: pytest.FixtureRequest) -> Gradverify:
    """Judge gradients in a test: `gradverify.assert_pass("sum(exp(x))", subject="torch", x=[0.5, 1.0])`."""
    from .fixture import Gradverify

    return Gradverify.of(request)


def __getattr__(name: str) -> Any:
    if name == "VerdictError":
        from .fixture import VerdictError

        return VerdictError
    raise AttributeError(name)
