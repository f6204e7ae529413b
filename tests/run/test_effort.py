"""The effort of checks that say none: from the environment, or from the project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gradverify import check
from gradverify.core.errors import BadInput, GradverifyError
from gradverify.core.outcome import Outcome
from gradverify.run.config import EFFORT, default_effort, read_config

torch = pytest.importorskip("torch")


def _wrong_elsewhere() -> Any:
    """sin, whose backward is right for four entries alone."""

    class Sin(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return g * x.cos() * (1 if len(x) == 4 else 2)

    return Sin.apply


X = [0.3, -1.2, 0.8, 2.0]


def _x() -> Any:
    return torch.tensor(X, dtype=torch.float64, requires_grad=True)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(EFFORT, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_normal_is_the_default(project: Path) -> None:
    assert default_effort() == "normal"
    assert check(_wrong_elsewhere(), _x()).outcome is Outcome.FAIL


def test_the_environment_says_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EFFORT, "quick")
    assert check(_wrong_elsewhere(), _x())
    assert check(_wrong_elsewhere(), _x(), effort="normal").outcome is Outcome.FAIL  # a call that says it has it


def test_the_project_says_it_and_the_environment_wins(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "pyproject.toml").write_text('[tool.gradverify]\neffort = "quick"\n')
    assert default_effort() == "quick"
    assert read_config(project) == {"effort": "quick"}
    monkeypatch.setenv(EFFORT, "thorough")
    assert default_effort() == "thorough"


def test_the_drop_ins_follow(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gradverify.torch import gradcheck

    assert not gradcheck(_wrong_elsewhere(), _x(), raise_exception=False)
    monkeypatch.setenv(EFFORT, "quick")
    assert gradcheck(_wrong_elsewhere(), _x())


def test_the_drop_in_of_jax_follows(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jax = pytest.importorskip("jax")
    from gradverify.jax import check_grads

    sin = jax.custom_vjp(jax.numpy.sin)
    sin.defvjp(lambda x: (sin(x), x), lambda x, g: (g * jax.numpy.cos(x) * (1 if len(x) == 4 else 2),))
    with pytest.raises(AssertionError):
        check_grads(sin, (jax.numpy.array(X),), 1, ("rev",))
    monkeypatch.setenv(EFFORT, "quick")
    check_grads(sin, (jax.numpy.array(X),), 1, ("rev",))


def test_what_is_no_effort_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="effort must be one of quick, normal, thorough, got 'slow'"):
        check(_wrong_elsewhere(), _x(), effort="slow")  # type: ignore[arg-type]
    monkeypatch.setenv(EFFORT, "quik")
    with pytest.raises(BadInput, match="GRADVERIFY_EFFORT must be one of"):
        check(_wrong_elsewhere(), _x())
    (project / "pyproject.toml").write_text('[tool.gradverify]\neffort = "quik"\n')
    with pytest.raises(GradverifyError, match=r"pyproject.toml: effort must be one of"):
        read_config(project)
