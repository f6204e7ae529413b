"""`gradverify write`: drafts that run, for each framework; what cannot be drafted is said."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gradverify.cli import Exit, main
from gradverify.frameworks.customs import returned

TORCH = '''
import torch
from torch.autograd import Function


class Scale(Function):
    @staticmethod
    def forward(ctx, x, w, factor: float = 2.0):
        ctx.save_for_backward(x, w)
        ctx.factor = factor
        return x * w * factor

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g * w * ctx.factor, g * x * ctx.factor, None


class Rows(Function):
    """Takes matrices and integers, in the newer style."""

    @staticmethod
    def forward(table, indices):
        return table[indices]

    @staticmethod
    def setup_context(ctx, inputs, output):
        table, indices = inputs
        ctx.save_for_backward(indices)
        ctx.shape = table.shape

    @staticmethod
    def backward(ctx, g):
        (indices,) = ctx.saved_tensors
        return torch.zeros(ctx.shape).index_put((indices,), g, accumulate=True), None


class Wrong(Function):
    @staticmethod
    def forward(ctx, x):
        return x.sin()

    @staticmethod
    def backward(ctx, g):
        return g


class Odd(Function):
    @staticmethod
    def forward(ctx, x, handle):
        return x * handle.weight

    @staticmethod
    def backward(ctx, g):
        return g, None


Alias = Function
'''

SCALED = """
import torch
from torch.autograd import Function


class ByNumber(Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.scale = scale
        return x * scale

    @staticmethod
    def backward(ctx, g):
        return g * ctx.scale, None


class ByTensor(Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x, scale)
        return x * scale

    @staticmethod
    def backward(ctx, g):
        x, scale = ctx.saved_tensors
        return g * scale, (g * x).sum()


class Forgotten(Function):
    @staticmethod
    def forward(ctx, x, gain):  # no name that says it
        ctx.gain = gain
        return x * gain

    @staticmethod
    def backward(ctx, g):
        return g, None


class Steps(Function):
    @staticmethod
    def forward(ctx, x, axis, keep):
        ctx.shape, ctx.axis = x.shape, axis
        return x.sum(axis)

    @staticmethod
    def backward(ctx, g):
        if g is None:
            return None, None, None
        return g.unsqueeze(ctx.axis).expand(ctx.shape), None, None
"""

ENGINE = """
from gradverify.engine import autograd


class Twice(autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return g * 2
"""

JAX = """
import jax
import jax.numpy as jnp
from functools import partial


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def clipped(x, p):
    return x**p


clipped.defvjp(lambda x, p: (x**p, x), lambda p, x, g: (g * p * x ** (p - 1),))


@jax.custom_jvp
def product(x, y):
    return jnp.tanh(x) * y


product.defjvps(lambda t, ans, x, y: t * y / jnp.cosh(x) ** 2, lambda t, ans, x, y: t * jnp.tanh(x))
"""


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    path, before = list(sys.path), set(sys.modules)

    def call(*args: str) -> Result:
        return CliRunner().invoke(main, ["write", *args])

    yield call
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if name.startswith("drafted_"):
            del sys.modules[name]


def run(file: Path) -> dict[str, BaseException | None]:
    """What each test of a drafted file raises."""
    scope: dict = {"__name__": "drafted"}
    exec(compile(file.read_text(), str(file), "exec"), scope)
    found: dict[str, BaseException | None] = {}
    for name, test in scope.items():
        if name.startswith("test_"):
            try:
                found[name] = test()
            except BaseException as e:
                found[name] = e
    return found


def test_functions_of_torch(call, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    (tmp_path / "drafted_torch.py").write_text(TORCH)
    done = call("drafted_torch", "--write", "tests")
    assert done.exit_code == Exit.OK, done.output
    assert "drafted_torch.Wrong(draw(2, 3)): FAIL" in done.output
    assert "drafted_torch.Odd(): no call was found" in done.output
    raised = run(tmp_path / "tests" / "test_drafted_torch_torch.py")
    assert set(raised) == {"test_scale", "test_rows", "test_wrong", "test_odd"}
    assert raised["test_scale"] is None
    assert raised["test_rows"] is None
    assert type(raised["test_wrong"]).__name__ == "WrongGradient"
    assert isinstance(raised["test_odd"], pytest.skip.Exception)
    again = call("drafted_torch", "--write", "tests")
    assert again.exit_code == Exit.USAGE
    assert "exists" in again.output


def test_a_number_is_drafted_where_a_number_is_meant(call, tmp_path: Path) -> None:
    """By its name, or since the backward pass has no gradient for it."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    (tmp_path / "drafted_scaled.py").write_text(SCALED)
    done = call("drafted_scaled")
    assert done.exit_code == Exit.OK, done.output
    for said in (
        "ByNumber(draw(2, 3), 0.5): PASS",
        "ByTensor(draw(2, 3), draw()): PASS",
        "Forgotten(draw(2, 3), 0.5): FAIL",
        "Steps(draw(2, 3), 1, 0.5): PASS",
    ):
        assert said in done.output, done.output


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("return g, None", (True, False)),
        ("return (g, None) if g is not None else (None, None)", (True,)),
        ("if g is None:\n        return None, None\n    return g, None", (True, False)),
        ("def inner():\n        return None\n    return g * inner()", (True,)),
        ("return (g, *rest)", ()),
        ("if g:\n        return g, None\n    return g", ()),
        ("return None", (False,)),
        ("pass", ()),
    ],
)
def test_the_source_of_a_backward_pass_tells_what_has_a_gradient(
    body: str, found: tuple[bool, ...], tmp_path: Path
) -> None:
    file = tmp_path / "backward_of.py"
    file.write_text(f"def backward(ctx, g):\n    {body}\n")
    scope: dict = {}
    exec(compile(file.read_text(), str(file), "exec"), scope)
    assert returned(scope["backward"]) == found
    assert returned(len) == ()


def test_functions_of_the_engine_are_printed(call, tmp_path: Path) -> None:
    (tmp_path / "drafted_engine.py").write_text(ENGINE)
    done = CliRunner().invoke(main, ["write", "drafted_engine"])
    assert done.exit_code == Exit.OK, done.output
    (tmp_path / "draft.py").write_text(done.stdout)
    assert run(tmp_path / "draft.py") == {"test_twice": None}


@pytest.mark.slow
def test_functions_of_jax(call, tmp_path: Path) -> None:
    pytest.importorskip("jax", reason="JAX is not installed")
    (tmp_path / "drafted_jax.py").write_text(JAX)
    done = call("drafted_jax", "--write", ".")
    assert done.exit_code == Exit.OK, done.output
    assert run(tmp_path / "test_drafted_jax_jax.py") == {"test_clipped": None, "test_product": None}


def test_modules_below_a_package(call, tmp_path: Path) -> None:
    package = tmp_path / "drafted_pkg"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "inner" / "__init__.py").write_text("")
    (package / "inner" / "ops.py").write_text(ENGINE)
    (package / "broken.py").write_text("import no_such_module_anywhere\n")
    (package / "user.py").write_text("from .inner.ops import Twice\n")  # which is not defined there
    done = call("drafted_pkg")
    assert done.exit_code == Exit.OK, done.output
    assert "drafted_pkg.inner.ops.Twice.apply" in done.output
    assert "drafted_pkg.user.Twice" not in done.output
    assert "drafted_pkg.broken cannot be imported: ModuleNotFoundError" in done.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be imported: ModuleNotFoundError"),
        ("x = 1 / 0\n", "cannot be imported: ZeroDivisionError"),
        ("raise SystemExit\n", "cannot be imported: SystemExit"),
        ("x = 1\n", "defines no custom gradient"),
    ],
)
def test_what_cannot_be_drafted(call, tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "drafted_bad.py").write_text(text)
    done = call("drafted_bad")
    assert done.exit_code == Exit.USAGE
    assert said in done.output
    assert "Traceback" not in done.output
