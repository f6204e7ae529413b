"""Probes of functions that launch kernels: other configurations, and other orders of the program instances."""

from __future__ import annotations

from collections.abc import Iterator

from ..frameworks.registry import of_functions
from ..trace.value import Launches
from .probes import Given, OtherCase, OtherFunction, Probe, Variant, has_case, register_probe


def launches_of(given: Given) -> Launches:
    """The kernel launches of the forward pass, and of the backward pass if it was traced."""
    backward = given.backward.traced
    return given.traced.launches | backward.launches if backward is not None else given.traced.launches


def note_atomics(given: Given) -> tuple[str, ...]:
    """A note where results depend on the order in which program instances add to them, by rounding."""
    summed = launches_of(given).summed
    if not summed:
        return ()
    return (
        f"program instances add to {', '.join(summed)} by atomics: on a GPU the last digits differ from run to run",
    )


def _other_runs(given: Given) -> Iterator[Variant]:
    """The given case as the kernels would run it elsewhere; other code is traced as well, for what it does in memory."""
    assert given.case is not None
    for label, within, anew in of_functions(given.traced.framework).other_runs(launches_of(given)):
        yield OtherCase(given.case, label=label, within=within)
        if anew:
            yield OtherFunction(given.question.fn, label=label, within=within)


def launches_kernels(given: Given) -> bool:
    """Does either pass launch kernels?"""
    return launches_of(given).instances > 0


register_probe(Probe("other runs of the kernels", _other_runs, legal=True, requires=(has_case, launches_kernels)))
