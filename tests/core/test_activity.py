"""Signs of life on a terminal, and nowhere else."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from gradverify.core import activity

SLOW = """\
import os, sys, time
os.environ.pop("CI", None)
os.environ["TERM"] = "xterm"
os.environ.update({changes})
os.close(os.open(os.ttyname(0), os.O_RDWR))  # of a session without one it becomes the terminal
os.tcsetpgrp(0, os.getpgrp())
from gradverify.core import activity
activity.AFTER, activity.EVERY = 0.2, 0.05
with activity.doing("f"):
    with activity.doing("other values"):
        time.sleep(1.0)
time.sleep(0.2)
"""


def on_a_terminal(**changes: str) -> str:
    """What stands on a terminal after a second of work."""
    mine, theirs = pty.openpty()
    env = os.environ | {"PYTHONPATH": str(Path(activity.__file__).parents[2])}
    env.pop("PYTEST_XDIST_WORKER", None)
    command = [sys.executable, "-c", SLOW.replace("{changes}", repr(changes))]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, start_new_session=True, env=env) as child:
        assert child.wait(30) == 0
    os.close(theirs)
    found = b""
    while select.select([mine], [], [], 0)[0]:
        try:
            found += os.read(mine, 4096)
        except OSError:
            break
    os.close(mine)
    return found.decode()


def test_what_takes_long_says_so_and_takes_it_away() -> None:
    found = on_a_terminal()
    assert "[f: other values, 0 s]" in found
    assert found.endswith("\x1b[K")
    assert "\n" not in found


@pytest.mark.parametrize("changes", [{"CI": "true"}, {"TERM": "dumb"}, {"PYTEST_XDIST_WORKER": "gw0"}])
def test_nothing_is_said_where_nobody_looks(changes: dict[str, str]) -> None:
    assert not on_a_terminal(**changes)


def test_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "AFTER", 0.05)
    assert activity.text() == ""
    with activity.doing("f"):
        assert activity.text() == ""
        time.sleep(0.1)
        with activity.doing("a" * 200):
            assert activity.text() == f"f: {'a' * (activity.WIDTH - 3)}, 0 s"
        assert activity.text() == "f, 0 s"
    assert activity.text() == ""


def test_what_raises_is_done_no_longer() -> None:
    with pytest.raises(ZeroDivisionError), activity.doing("f"):
        _ = 1 / 0
    assert not activity._doing


CELL = """\
import os, time
os.environ.pop("CI", None)
os.environ.pop("PYTEST_XDIST_WORKER", None)
from gradverify.core import activity
activity.AFTER, activity.EVERY = 0.2, 0.05
with activity.doing("f"):
    with activity.doing("other values"):
        time.sleep({seconds})
"""


def test_in_a_notebook_a_line_below_the_cell_is_shown_updated_and_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against stand-ins for IPython and its kernel; with these themselves below."""
    shown: list[str] = []

    class Shell:
        pass

    class Handle:
        def update(self, data: dict[str, str], raw: bool) -> None:
            shown.append(data["text/plain"])

    def display(data: dict[str, str], raw: bool, display_id: bool) -> Handle:
        shown.append("new: " + data["text/plain"])
        return Handle()

    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    ipython = types.SimpleNamespace(get_ipython=Shell, display=types.SimpleNamespace(display=display))
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "ipykernel.zmqshell", types.SimpleNamespace(ZMQInteractiveShell=Shell))
    monkeypatch.setattr(activity, "AFTER", 0.1)
    monkeypatch.setattr(activity, "EVERY", 0.02)
    activity._display.cache_clear()
    monkeypatch.setattr(activity, "_watcher", None)
    try:
        for _ in range(2):
            with activity.doing("f"):
                time.sleep(0.5)
    finally:
        activity._display.cache_clear()
        activity._watcher = None
    first = shown.index("")
    line = r"\[f, \d+ s\]"  # of a second or more on a loaded machine
    assert re.fullmatch(f"new: {line}", shown[0])
    assert first > 1
    assert all(re.fullmatch(line, text) for text in shown[1:first])
    assert re.fullmatch(f"new: {line}", shown[first + 1])
    assert shown[-1] == ""


def test_ipython_on_a_terminal_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    ipython = types.SimpleNamespace(get_ipython=object)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "ipykernel.zmqshell", types.SimpleNamespace(ZMQInteractiveShell=str))
    monkeypatch.setenv("TERM", "dumb")
    activity._display.cache_clear()
    assert activity._display() is None
    activity._display.cache_clear()


@pytest.mark.slow
def test_in_jupyter() -> None:
    """A kernel runs two cells: the one that takes long has one line, emptied at its end; verdicts are shown in colour."""
    client = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    check = (
        "from gradverify.spec import loads\nimport gradverify\n"
        "spec = loads('gradverify: 1\\ncases:\\n  - {name: gate, expr: tanh(x), inputs: {x: [1.0]}}')\n"
        "gradverify.judge_case(spec.cases[0].case('float64'), 'engine')"
    )
    cells = [nbformat.v4.new_code_cell(c) for c in (CELL.format(seconds=1.0), CELL.format(seconds=0.0), check)]
    book = nbformat.v4.new_notebook(cells=cells)
    with pytest.MonkeyPatch.context() as env:
        env.setenv("PYTHONPATH", os.pathsep.join([str(Path(activity.__file__).parents[2]), *filter(None, sys.path)]))
        done = client.NotebookClient(book, timeout=60, store_widget_state=False).execute()
    slow, quick, verdict = (cell.outputs for cell in done.cells)
    assert [o.data["text/plain"] for o in slow] == [""]
    assert quick == []
    assert "PASS" in verdict[0].data["text/html"]
    assert verdict[0].data["text/plain"].startswith("<PASS: gate")
