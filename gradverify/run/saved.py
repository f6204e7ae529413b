"""The cases of a report, to be judged again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from ..core.case import Source
from ..core.errors import SpecError, clipped
from ..spec.document import loads
from .events import Job
from .runner import Settings


def saved_jobs(results: Iterable[Mapping[str, Any]], settings: Settings, file: str) -> Iterator[Job]:
    """Yield a job for each result of a report that has its case.

    The settings' subjects and dtypes replace the report's, where they are given.
    """
    for result in results:
        text = result["verdict"]["spec"]
        if not text:
            continue
        name = f"{file}: {clipped(result['id'], 200)}"
        cases = loads(text, name).cases
        if len(cases) != 1:
            raise SpecError(f"{len(cases)} cases where one was saved", file=name)
        (spec,) = cases
        for subject in settings.subjects or (result["subject"],):
            for dtype in settings.dtypes or (result["dtype"],):
                build = partial(spec.case, dtype)
                yield Job(result["id"], subject, dtype, build, _source(result, file), result["expect"])


def _source(result: Mapping[str, Any], file: str) -> Source:
    """Where the case is written; of one that no file has, the report."""
    known = result["source"]
    return Source("spec", known["file"] or file, known["line"])
