"""Sparse arguments: a function of them is judged as the function of their stored values that it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..core.errors import BadInput, NoRule, Unsupported
from ..core.verdict import Verdict
from ..frameworks.base import Call
from ..frameworks.recognise import known_frameworks
from .question import Question
from .trace_case import NoArray

NOTE = "sparse arguments: the gradient with respect to their stored values was judged"
RESULT = "the result is sparse: it was judged as the dense one"


def judge_sparse(q: Question, judge: Callable[[Question], Verdict], order: int = 1) -> Verdict:
    """The verdict of `judge`; with sparse arguments, on the function of their stored values.

    Raises as `judge` does, and Unsupported for sparse arrays at higher orders.
    """
    call = Call(q.fn, q.args, q.kwargs)
    for framework in known_frameworks():
        over = framework.dense(call)
        if over is not None:
            break
    else:
        try:
            return judge(q)
        except NoArray:
            made = next(filter(None, (f.dense_result(call) for f in known_frameworks())), None)
            if made is None:
                raise
            return _with_note(judge(replace(q, fn=made.fn)), RESULT)
    if order > 1:
        raise NoRule("functions of sparse tensors are judged at the first order alone")
    stored, dense = over
    if q.reference is not None:
        dense = framework.densified(q.reference, call)
    over_stored = replace(q, fn=stored.fn, args=stored.args, kwargs=stored.kwargs, second=False)
    try:
        return _with_note(judge(replace(over_stored, reference=dense)), NOTE)
    except (BadInput, Unsupported):
        if q.reference is not None:
            raise
        return _with_note(judge(over_stored), NOTE)  # it is for sparse tensors alone


def _with_note(verdict: Verdict, note: str) -> Verdict:
    return replace(verdict, notes=(*verdict.notes, note))
