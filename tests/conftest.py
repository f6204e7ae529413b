"""What holds for every test file: memory goes back to the system when a file is done, and `--max-rss` shows who needs it."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Triton's own functions (tl.sum) are interpreted or compiled by what is set when it is imported, which PyTorch may do.
os.environ.setdefault("TRITON_INTERPRET", "1")

pytest.register_assert_rewrite("tests.helpers")

PEAKS = pytest.StashKey[dict[str, int]]()
"""Test file -> the largest size of the process so far, in MiB, when the file was done."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="Run the tests of tests/long.txt as well, as CI does.")
    parser.addoption("--max-rss", action="store_true", help="List the test files that made the process larger.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out slow tests, unless `-m` names them. A run of whole folders leaves out long ones too."""
    left = set() if "slow" in config.option.markexpr else {i for i in items if i.get_closest_marker("slow")}
    if not config.option.long and all(Path(a).is_dir() for a in config.args):
        known = set((Path(__file__).parent / "long.txt").read_text().splitlines())
        left |= {i for i in items if i.nodeid.partition("[")[0] in known}
    if left:
        config.hook.pytest_deselected(items=[i for i in items if i in left])
        items[:] = [i for i in items if i not in left]


@pytest.fixture(scope="module", autouse=True)
def memory_goes_back(request: pytest.FixtureRequest) -> Iterator[None]:
    """Drop compiled programs and return free memory to the system after a test file.

    JAX keeps every program that it has compiled, and glibc keeps the free lists that the compilers leave behind: of
    1.2 GB after `tests/api/test_sweep_jax.py` 0.8 GB were free lists.
    """
    yield
    if (jax := sys.modules.get("jax")) is not None:
        jax.clear_caches()
    if (dynamo := sys.modules.get("torch._dynamo")) is not None:
        dynamo.reset()
    gc.collect()
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    request.config.stash.setdefault(PEAKS, {})[request.node.nodeid] = peak


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leave this worker's peaks where the process that prints them looks for them."""
    if session.config.getoption("--max-rss") and (worker := os.environ.get("PYTEST_XDIST_WORKER")):
        lines = (f"{peak} {name}" for name, peak in session.config.stash.get(PEAKS, {}).items())
        folder = session.config.rootpath / ".pytest_cache"
        folder.mkdir(exist_ok=True)
        (folder / f"rss-{worker}").write_text("\n".join(lines))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not config.getoption("--max-rss"):
        return
    runs = {"this process": config.stash.get(PEAKS, {})}
    for file in sorted(Path(config.rootpath, ".pytest_cache").glob("rss-*")):
        rows = (line.split(" ", 1) for line in file.read_text().splitlines())
        runs[file.name.removeprefix("rss-")] = {name: int(peak) for peak, name in rows}
        file.unlink()
    for worker, peaks in runs.items():
        before = 0
        for name, peak in peaks.items():
            if peak > before:
                terminalreporter.write_line(f"{worker}: {peak:5} MiB (+{peak - before}) at the end of {name}")
            before = max(before, peak)
