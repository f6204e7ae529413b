"""Signs of life on a terminal, and nowhere else."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
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
