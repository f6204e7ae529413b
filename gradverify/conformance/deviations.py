"""Known deviations: laws that an engine is known to break, each reviewed, with its reason.

An entry whose law holds again is stale, and fails the run: take it out.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Deviation:
    """`engine` breaks `law`; `reason` says why it does, what follows for users, and what to do instead."""

    engine: str
    law: str
    reason: str


DEVIATIONS: tuple[Deviation, ...] = (
    Deviation(
        "torch",
        "mode_object_enters_twice",
        "no_grad keeps the mode to restore in one attribute of the object, which the second entry overwrites: after "
        "leaving both blocks, recording stays off. Make a new no_grad() for each block, as the documentation's examples do.",
    ),
    Deviation(
        "torch",
        "scalar_gradient_argument_is_not_taken",
        "The sum of a 0-d tensor passes the caller's gradient through unchanged, and the leaf keeps that very tensor as its "
        ".grad; the next backward then adds into the caller's tensor. Pass gradient.clone() where it is used again.",
    ),
    Deviation(
        "torch",
        "retained_second_output_can_be_edited",
        "An in-place edit of an output other than the first that retains its gradient ends in an internal assertion "
        "(variable.cpp: out != nullptr), which asks to be reported to PyTorch. Edit out of place, or clone first.",
    ),
    Deviation(
        "torch",
        "retaining_tensor_can_be_detached",
        "detach_ leaves the note that the tensor retains its gradient; the next recorded in-place edit looks for the hook "
        "that went with the history, and ends in an internal assertion (variable.cpp: old_fn, or out != nullptr), which "
        "asks to be reported to PyTorch. Use y = y.detach().",
    ),
    Deviation(
        "micrograd",
        "adds_across_calls_through_shared_nodes",
        "Values in the middle keep their gradient from one backward to the next and pass it on again. Micrograd is meant "
        "for one backward per graph.",
    ),
)


def reason(engine: str, law: str) -> str | None:
    """Why `engine` is known to break `law`; None where it is not."""
    return next((d.reason for d in DEVIATIONS if (d.engine, d.law) == (engine, law)), None)
