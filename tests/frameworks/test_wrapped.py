"""A wrapper has every ability of the framework that it wraps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradverify.frameworks import Framework, Observation, Wrapped
from gradverify.frameworks.registry import Elsewhere, find

MEMBERS = sorted({n for n in (*vars(Framework), *Framework.__annotations__) if not n.startswith("_")})


class Everything(Framework):
    """Each member gives an object of its own, or is one."""

    name, dtypes = "everything", ("float64",)

    def unavailable(self) -> str | None:
        return None

    def function(self, graph: Any, dtype: str) -> Any:
        return graph

    def run_vjp(self, function: Any, values: Any, wrt: Any, cotangent: Any) -> Observation:
        return Observation()


def arguments(method: Any) -> tuple[list[Any], dict[str, Any]]:
    code = method.__code__
    count = code.co_argcount - 1
    return [object() for _ in range(count)], {
        n: object() for n in code.co_varnames[count + 1 : count + 1 + code.co_kwonlyargcount]
    }


@pytest.mark.parametrize("member", MEMBERS)
def test_a_wrapper_forwards(member: str) -> None:
    inner, marked = Everything(), object()
    asked: list[Any] = []
    if callable(getattr(Framework, member, None)):
        given, named = arguments(getattr(Framework, member))

        def ability(*args: Any, **kwargs: Any) -> Any:
            asked.append((list(args), kwargs))
            return marked

        setattr(inner, member, ability)
        assert getattr(Wrapped(inner), member)(*given, **named) is marked
        assert asked == [(given, named)]
    else:

        class Marked(Everything):
            pass

        setattr(Marked, member, marked)
        assert getattr(Wrapped(Marked()), member) is marked


def test_there_are_members_to_ask_for() -> None:
    assert {"name", "dtypes", "run_vjp", "tape", "trace", "forms", "title"} <= set(MEMBERS)


def test_elsewhere_is_unavailable() -> None:
    inner = find("engine")
    there = Elsewhere(inner, "cuda")
    assert there.unavailable() == "engine runs on the CPU only, not on cuda"
    assert there.device == "cuda"
    assert there.forms is inner.forms
    with pytest.raises(NotImplementedError):
        there.run_vjp(lambda x: x, {"x": np.ones(2)}, ("x",), (np.ones(2),))


def test_an_ability_that_is_not_there_says_so() -> None:
    framework = Everything()
    for ask in (
        lambda: framework.run_jvp(None, {}, {}, True),  # type: ignore[arg-type]
        lambda: framework.run_vjp_by("lazily", None, {}, (), ()),  # type: ignore[arg-type]
        framework.tape,
        framework.poisoned,
    ):
        with pytest.raises(NotImplementedError, match="everything"):
            ask()
