"""`gradverify.watch()` and `gradverify watch -- python script.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gradverify
from gradverify.run.events import JobJudged, listening

from . import functions as F
from .helpers import drawn

SCRIPT = """
import sys
import torch

class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx, g):
        return 2 * g * (1 - ctx.saved_tensors[0].tanh() ** 2)

if __name__ == "__main__":
    assert sys.argv[1:] == ["--epochs", "1"], sys.argv
    Doubled.apply(torch.ones(3, requires_grad=True)).sum().backward()
"""


def test_a_block(tmp_path: Path) -> None:
    with gradverify.watch("tests.watch.functions.*", root=tmp_path) as watched:
        F.Sin.apply(drawn(3)).sum().backward()
        F.Doubled.apply(drawn(3)).sum().backward()
    events: list[object] = []
    with listening(events.append):
        watched.judge(60)
    assert watched.gates()
    assert [e.job.id for e in events if isinstance(e, JobJudged) and not e.ok] == [
        "gradverify::tests.watch.functions.Doubled[x=float32(3)*]"
    ]
    text = watched.text()
    assert "the rule is 2 times the gradient" in text
    assert "first run by tests/watch/test_session.py:" in text
    assert list(tmp_path.glob(".gradverify/*/inputs.npz"))


def test_a_script(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-m", "gradverify", "watch", "--", "python", "train.py", "--epochs", "1"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAIL (wrong): __main__.Doubled[x=float32(3)*]" in done.stdout
    assert "first run by train.py:17" in done.stdout


def test_what_a_judgement_calls_is_not_recorded(tmp_path: Path) -> None:
    with gradverify.watch("tests.watch.functions.*", root=tmp_path) as watched:
        assert gradverify.check(F.Sin.apply, drawn(3), effort="quick")
        assert not gradverify.check(F.Doubled.apply, drawn(3), effort="quick")
        F.Sin.apply(drawn(2)).sum().backward()
    watched.judge(60)
    assert not watched.gates()
    text = watched.text()
    assert "executed by checks of their own alone: tests.watch.functions.Doubled\n" in text
    (row,) = [line for line in text.splitlines() if line.startswith("tests.watch.functions.Sin ")]
    assert row.split()[1] == "1"  # execution
