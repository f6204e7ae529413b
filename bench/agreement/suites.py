"""The suites: their projects, their files, and the stand-ins for their checkers."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from .beside import Log, patched


@dataclass(frozen=True)
class Suite:
    """A project's tests. `files` are paths in a checkout, `patch` puts our checker beside the project's.

    Of tests that mention none of `checkers`, at any depth, nothing is run (with none given, all tests are).
    """

    title: str
    source: str
    files: tuple[str, ...]
    patch: Callable[[Log], AbstractContextManager[None]]
    checkers: tuple[str, ...] = ()


def _function(f: Any) -> str:
    return str(getattr(f, "__qualname__", None) or type(f).__name__).replace("<locals>.", "")


def _shapes(args: Any) -> str:
    """The dtypes and shapes of arrays among (nested) arguments: "float32[3, 4], float32[]"."""
    if isinstance(args, dict):
        args = list(args.values())
    if isinstance(args, list | tuple):
        return ", ".join(text for text in map(_shapes, args) if text)
    if hasattr(args, "shape") and hasattr(args, "dtype"):
        return f"{str(args.dtype).removeprefix('torch.')}{list(args.shape)}"
    return ""


def _hips(log: Log) -> AbstractContextManager[None]:
    from autograd import test_util

    from gradverify.autograd import check_grads as ours

    original = test_util.check_grads
    expected = (AssertionError,)

    def check_grads(f: Any, *options: Any, **named: Any) -> Any:
        def check(*args: Any, **kwargs: Any) -> Any:
            return log.beside(
                f"check_grads({_function(f)}) at {_shapes(args)}",
                lambda: original(f, *options, **named)(*args, **kwargs),
                lambda: ours(f, *options, **named, effort="quick")(*args, **kwargs),
                expected,
            )

        return check

    return patched((test_util, "check_grads", check_grads))


def _jax(log: Log) -> AbstractContextManager[None]:
    import jax.test_util
    from jax._src import public_test_util
    from jax._src import test_util as internal

    from gradverify.jax import check_grads as ours

    original = public_test_util.check_grads

    def check_grads(f: Any, args: Any, order: Any, *options: Any, **named: Any) -> Any:
        modes = options[0] if options else named.get("modes", "default")
        return log.beside(
            f"check_grads({_function(f)}, order={order}, modes={modes}) at {_shapes(args)}",
            lambda: original(f, args, order, *options, **named),
            lambda: ours(f, args, order, *options, **named, effort="quick"),
            (AssertionError,),
        )

    places = [(module, "check_grads", check_grads) for module in (jax.test_util, public_test_util, internal)]
    return patched(*places)


def _torch(log: Log) -> AbstractContextManager[None]:
    import torch

    from gradverify import torch as ours

    def beside(name: str) -> Callable[..., Any]:
        original = getattr(torch.autograd, name)

        def check(f: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
            options = ", ".join(f"{k}={v}" for k, v in named.items() if isinstance(v, bool | float))
            return log.beside(
                f"{name}({_function(f)}{', ' * bool(options)}{options}) at {_shapes(inputs)}",
                lambda: original(f, inputs, *rest, **named),
                lambda: getattr(ours, name)(f, inputs, *rest, **named, effort="quick"),
                (ours.GradcheckError, ValueError, AssertionError),
            )

        return check

    # PyTorch's tests import their own folder test/autograd by a name that an installed HIPS autograd has too.
    folder = types.ModuleType("autograd")
    folder.__path__ = [str(log.checkout / "test" / "autograd")]
    sys.modules["autograd"] = folder
    return patched(*((torch.autograd, n, beside(n)) for n in ("gradcheck", "gradgradcheck")))


SUITES: dict[str, Suite] = {
    "autograd": Suite("HIPS autograd", "HIPS/autograd", ("tests",), _hips),
    "jax": Suite(
        "JAX",
        "jax-ml/jax",
        ("tests/nn_test.py", "tests/lax_scipy_test.py", "tests/linalg_test.py", "tests/lax_autodiff_test.py"),
        _jax,
        ("check_grads",),
    ),
    "torch": Suite("PyTorch", "pytorch/pytorch", ("test/test_autograd.py",), _torch, ("gradcheck", "gradgradcheck")),
}
