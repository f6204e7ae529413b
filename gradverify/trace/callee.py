"""What a callable is called, and what it calls its arguments: by the names that its author wrote."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def rule_of(fn: Any) -> Any:
    """The class of a custom rule whose `apply` the callable is: one with `forward` and `backward`. None for all others."""
    owner = getattr(fn, "__self__", None)
    is_apply = isinstance(owner, type) and getattr(fn, "__name__", "") == "apply"
    return owner if is_apply and hasattr(owner, "forward") and hasattr(owner, "backward") else None


def name_of(fn: Callable[..., Any]) -> str:
    """The callable's name; the class's for the `apply` of a custom rule."""
    rule = rule_of(fn)
    return rule.__name__ if rule else str(getattr(fn, "__name__", type(fn).__name__))


def qualified_name_of(fn: Callable[..., Any]) -> str:
    """The same with the classes and functions that it is defined in."""
    rule = rule_of(fn)
    return f"{rule.__qualname__}.apply" if rule else getattr(fn, "__qualname__", None) or type(fn).__name__


def positional(fn: Any, k: int) -> str:
    """What the function itself calls its k-th argument; of a custom rule, what its `forward` calls it."""
    return positional_names(fn, k + 1)[k]


def positional_names(fn: Any, count: int) -> list[str]:
    """The same of its first `count` arguments."""
    parameters = _parameters(fn)
    plain = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "args")
    return [*plain[:count], *(f"{rest}[{k}]" for k in range(count - len(plain)))]


def _parameters(fn: Any) -> list[inspect.Parameter]:
    """In order; empty where Python cannot tell."""
    rule = rule_of(fn)
    # A primitive of HIPS autograd is a wrapper that keeps what it wraps as `fun`.
    inner = getattr(fn, "fun", fn) if getattr(fn, "_is_autograd_primitive", False) else fn
    try:
        if rule is None:
            return list(inspect.signature(inner).parameters.values())
        found = list(inspect.signature(rule.forward).parameters.values())
    except (TypeError, ValueError):
        return []
    return found if _sets_up_apart(rule) else found[1:]  # the first one is the context


def _sets_up_apart(rule: type) -> bool:
    """Has the rule a `setup_context` of its own, so that `forward` is given no context?"""
    defining = [c for c in rule.__mro__ if "setup_context" in vars(c)]
    return len(defining) > 1
