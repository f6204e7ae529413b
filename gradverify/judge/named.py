"""The function that a case names, and why a subject refuses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from ..core.case import Case
from ..core.errors import JUDGED, SpecError, Undefined, clipped
from ..core.imports import imported, parsed
from ..core.verdict import Reason
from ..frameworks.base import Framework, Observation


def resolve_function(case: Case, subject: Framework) -> Callable[..., Any]:
    """The function that `call: package.module:name` names, over the case's inputs; with the backward pass of `vjp`.

    Raises SpecError for what cannot be imported, and Unsupported where the subject takes no backward pass by hand."""
    assert case.function is not None
    try:
        named = parsed(case.function)
    except ValueError as e:
        raise _spec_error(case, f"call: {e}") from e
    found = _imported(case, "call", named.function)
    names = tuple(case.graph.inputs)
    if case.vjp is None:
        return named.over(found, names)
    arguments: Callable[..., Any] = named.over(lambda *args, **kwargs: (args, kwargs), names)
    return subject.with_vjp(found, _imported(case, "vjp", case.vjp), arguments, names)


def _imported(case: Case, key: str, name: str) -> Callable[..., Any]:
    try:
        found: Any = imported(name, case.source.file)
    except JUDGED as e:  # a module runs code of any kind
        raise _spec_error(case, f"{key}: {name!r} cannot be imported: {describe(e)}") from e
    if not callable(found):
        raise _spec_error(case, f"{key}: {name!r} is no function but a {type(found).__name__}")
    return cast("Callable[..., Any]", found)


def _spec_error(case: Case, message: str) -> SpecError:
    """The error at the line of the spec that the case is of."""
    return SpecError(message, file=case.source.file or "<case>", line=case.source.line or 1)


def reason_of_refusal(seen: Observation) -> Reason:
    """NO_RULE where the subject lacks the backward pass alone, SUBJECT for all other refusals.

    JAX and HIPS autograd look for a rule while the forward pass runs: what they lack then is laid to the subject.
    """
    lacks_rule = seen.stage == "backward" and not isinstance(seen.raised, Undefined)
    return Reason.NO_RULE if lacks_rule else Reason.SUBJECT


def describe(e: BaseException) -> str:
    text = str(e).strip().splitlines()
    return f"{type(e).__name__}: {clipped(text[0])}" if text else type(e).__name__
