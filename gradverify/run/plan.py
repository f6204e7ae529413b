"""The jobs of a run: documents × subjects × dtypes, and random graphs on each subject in each dtype.

Planning imports no framework and draws no values: a `Job` builds its case, and a `Search` its graphs, when its turn
comes.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from ..core.case import Source
from ..core.errors import SpecError, UnknownName
from ..frameworks.registry import installed, names
from ..judge.laws.registry import find as find_law
from ..namespaces.dtypes import COMPLEX, PRECISION
from ..ops.complex.lowering import is_complex
from ..spec.document import CaseSpec, Document
from ..spec.keys import DEFAULT_DTYPES
from .events import Job
from .runner import Settings
from .search import Search

Names = tuple[str, ...] | None

SUFFIX = ".grad.yaml"


def subjects_of(settings: Settings) -> tuple[str, ...]:
    """The names of the settings; by default the engine and the installed frameworks (none is imported)."""
    if settings.subjects is not None:
        return settings.subjects
    return installed()


def check_names(settings: Settings) -> None:
    """Raise UnknownName, with close matches, for a subject without an adapter."""
    for name in settings.subjects or ():
        if name not in names():
            raise UnknownName("subject", name, names())


def _chosen(wanted: Names, own: Names, default: tuple[str, ...], bound: bool) -> tuple[str, ...]:
    if wanted is None:
        return own or default
    if own and bound:
        return tuple(name for name in own if name in wanted)
    return wanted


def _dtypes_for(dtypes: tuple[str, ...], spec: CaseSpec) -> tuple[str, ...]:
    """The run's dtypes for a case: for a complex one the complex dtypes of the same precision.

    A real case leaves complex64 and complex128 out.
    """
    if is_complex(spec.graph):
        return tuple(dict.fromkeys(COMPLEX.get(d, d) for d in dtypes if d in COMPLEX or d in PRECISION))
    return tuple(d for d in dtypes if d not in PRECISION)


def spec_jobs(document: Document, settings: Settings, path: str) -> Iterator[Job]:
    """Every case × subject × dtype of a spec file; `path` is how ids name the file.

    The settings' subjects and dtypes stand in for what a case says, except where the case is about them: a user's own
    function (`call`) belongs to its framework, and an expected failure to the subject and dtype that it was written
    for. There the settings select among what the case says.
    """
    for spec in document.cases:
        _check_invariants(spec)
        bound = spec.function is not None or spec.expect != "pass"
        for subject in _chosen(settings.subjects, spec.subjects, subjects_of(settings), bound):
            wanted = None if settings.dtypes is None else _dtypes_for(settings.dtypes, spec)
            for dtype in _chosen(wanted, spec.dtypes, DEFAULT_DTYPES, bound):
                yield _job(spec, subject, dtype, path)


def _check_invariants(spec: CaseSpec) -> None:
    """Raise SpecError for a law that nobody knows."""
    for name in spec.invariants:
        try:
            find_law(name)
        except UnknownName as e:
            raise SpecError(str(e), file=spec.file, line=spec.line) from None


def _job(spec: CaseSpec, subject: str, dtype: str, path: str) -> Job:
    return Job(
        id=f"{path}::{spec.name}[{subject}-{dtype}]",
        subject=subject,
        dtype=dtype,
        build=partial(spec.case, dtype),
        around=partial(spec.at_ends, dtype) if spec.function is not None else None,
        bounds=tuple(i.ends(PRECISION.get(dtype, dtype)) for i in spec.inputs.values()),
        source=Source("spec", path, spec.line),
        expect=spec.expect,
        explained=spec.explained(subject),
    )


NO_GRAPHS = "no random graphs: Hypothesis draws them, and is not installed: pip install 'gradverify[graphs]'"


def can_draw() -> bool:
    """Is Hypothesis there, which draws random graphs?"""
    return importlib.util.find_spec("hypothesis") is not None


def searches(settings: Settings) -> Iterator[Search]:
    """Random graphs for each subject and dtype; nothing where no examples are wanted."""
    if settings.examples > 0:
        for subject in subjects_of(settings):
            for dtype in settings.dtypes or DEFAULT_DTYPES:
                yield Search(subject, dtype, settings.examples, settings.seed)


def wants_random_graphs(paths: Sequence[str | os.PathLike[str]]) -> bool:
    """Does the run judge random graphs? Yes for folders and without any path, no for named files."""
    return not paths or any(Path(p).is_dir() for p in paths)


def spec_files(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Path]:
    """The spec files among and below `paths`, sorted; hidden folders and virtual environments are left out."""
    for path in map(Path, paths):
        if not path.is_dir():
            yield path
            continue
        for folder, folders, file_names in os.walk(path):
            folders[:] = sorted(f for f in folders if not f.startswith(".") and not _is_environment(Path(folder, f)))
            yield from (Path(folder, f) for f in sorted(file_names) if f.endswith(SUFFIX))


def _is_environment(folder: Path) -> bool:
    return (folder / "pyvenv.cfg").exists()
