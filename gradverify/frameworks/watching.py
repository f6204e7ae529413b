"""What frameworks tell about the custom gradients that run: definitions, and the calls of them that are recorded.

`watch.record` keeps them. A framework's `watch` patches the one door through which its custom gradients are called.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple, Protocol
from weakref import ref

import numpy as np

from ..trace.call_site import at

MEANT = "__gradverify_surrogate_of__"
"""The attribute of a definition that says whose gradient is meant."""


@dataclass(frozen=True, eq=False)
class Definition:
    """A custom gradient, where it is written.

    name        `package.module.Class`
    module      the module that it is defined in
    file        of its backward; "" where there is no source
    forward, backward  "file:line"
    importable  can a script import it by its name?
    meant       the function whose gradient its author says that it gives (`gradverify.surrogate`); None: its own
    """

    name: str
    framework: str
    module: str
    file: str = ""
    forward: str = ""
    backward: str = ""
    importable: bool = False
    meant: Callable[..., Any] | None = None


def source_of(fn: Any) -> tuple[str, int]:
    """The file and line where a function is written, under its decorators; ("", 0) where there is no source."""
    code = getattr(inspect.unwrap(fn) if callable(fn) else fn, "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code else ("", 0)


def line_of(source: tuple[str, int]) -> str:
    """ "file:line"; "" where there is no source."""
    return at(*source) if source[0] else ""


def signature_of(arrays: Iterable[tuple[str, str, Sequence[int], bool]]) -> str:
    """`x=float32(4,8)*,w=float32(8)`: of each array its name, dtype, shape, and whether it is differentiated."""
    return ",".join(f"{n}={dtype}({','.join(map(str, shape))}){'*' * flag}" for n, dtype, shape, flag in arrays)


@dataclass(eq=False)
class Sample:
    """A recorded call: copies of what it was given, and the cotangents that reached it.

    signature      shapes and dtypes of the arrays by forward's own parameter names; `*` marks what requires grad
    fixed          the arguments that are no arrays, as text
    function       the call again, as a function of the differentiated arrays
    names, args    those arrays: forward's names for them, and copies
    first          the test, or the line of the script, that ran it
    outputs        shape and dtype of each floating-point output
    cotangents     what arrived: for each backward pass an array, or None, per output; of more than MOST_COTANGENTS passes
                   the last is a random combination of all further ones: a rule that is right for each is right for that
    pulled         how many backward passes were run through it
    create_graph   was one of them run with create_graph?
    by_identity    does the call reach the same arrays by another way as well (parameters of a module that it is given)?
    modes          what was switched on: "autocast(bfloat16)"
    whole          arrays, and every other argument, by name: for a script
    size           bytes that the copies take
    seat           what the recorder's entry said when it wanted the call
    widen          the same call in float64, where it was in float32 throughout; None where there is none
    """

    definition: Definition
    signature: str
    fixed: str
    function: Callable[..., Any]
    names: tuple[str, ...]
    args: tuple[Any, ...]
    first: str = ""
    outputs: tuple[tuple[tuple[int, ...], str], ...] = ()
    cotangents: list[tuple[np.ndarray | None, ...]] = field(default_factory=list)
    pulled: int = 0
    create_graph: bool = False
    by_identity: bool = False
    modes: tuple[str, ...] = ()
    whole: Sequence[tuple[str, Any]] = ()
    size: int = 0
    seat: Any = None
    widen: Callable[[], Sample | None] | None = None

    @property
    def id(self) -> str:
        """As test items and pins name it: `package.module.Class[signature]`."""
        return f"{self.definition.name}[{self.signature}]"

    def note_cotangent(self, arrived: Callable[[], tuple[np.ndarray | None, ...]]) -> None:
        """Keep what arrived at a further backward pass, as far as there is room."""
        self.pulled += 1
        if self.pulled <= MOST_COTANGENTS:
            self.cotangents.append(arrived())
        elif self.pulled <= MOST_COMBINED and len(self.cotangents) >= MOST_COTANGENTS:
            weight = np.float32(Random(self.pulled).choice((-1, 1)) * Random(-self.pulled).uniform(0.5, 1))
            new = tuple(None if g is None else weight.astype(g.dtype) * g for g in arrived())
            old = self.cotangents.pop() if len(self.cotangents) > MOST_COTANGENTS else (None,) * len(new)
            pairs = zip(old, new, strict=True)
            self.cotangents.append(tuple(b if a is None else a if b is None else a + b for a, b in pairs))

    def cotangent(self, k: int = 0) -> tuple[np.ndarray, ...] | None:
        """The k-th recorded cotangent, zeros where an output got none; None without any."""
        if k >= len(self.cotangents):
            return None
        pairs = zip(self.cotangents[k], self.outputs, strict=True)
        return tuple(np.zeros(shape, _numpy(dtype)) if g is None else g for g, (shape, dtype) in pairs)


def _numpy(dtype: str) -> Any:
    return np.float32 if dtype in ("float16", "bfloat16") else np.dtype(dtype)


@dataclass(frozen=True, eq=False)
class Script:
    """A script that asks for the gradient of a recorded call, and the arrays that it reads from `inputs.npz`."""

    text: str
    arrays: dict[str, np.ndarray]


def named(function: Callable[..., Any], name: str, parameters: Sequence[str]) -> Callable[..., Any]:
    """The function under another's name, with parameters of these names (`x`; `params['w']` as `params_w`)."""
    function.__name__ = function.__qualname__ = name
    own = [re.sub(r"\W+", "_", p).strip("_") for p in parameters]
    kind = inspect.Parameter.POSITIONAL_ONLY
    function.__signature__ = inspect.Signature([inspect.Parameter(n, kind) for n in own])  # type: ignore[attr-defined]
    return function


MOST_COTANGENTS = 2
"""Backward passes of one call whose cotangents are kept as they are."""

MOST_COMBINED = 512
"""Backward passes of one call that are looked at: `gradcheck` runs one for each entry of an output."""


MOST_ENTRIES = 2048
"""Entries of one array that are looked at, evenly spread, besides its smallest and largest: some 50 µs."""


@dataclass(frozen=True, eq=False)
class Call:
    """A call of a definition, before anybody copies it.

    key     equal for calls whose description is the same: what can be had of it at no cost, and can be hashed
    size    bytes that copies of its arrays take
    arrays  its arrays, or MOST_ENTRIES of the entries of each; asked for where values decide
    """

    key: Hashable
    size: int
    arrays: Callable[[], Sequence[np.ndarray]]


class Described(NamedTuple):
    """A call in words: its signature, the arguments that are no arrays, and a name for each of `Call.arrays`."""

    signature: str
    fixed: str
    names: Sequence[str]


class Entry(Protocol):
    """What a recorder knows of one definition, and how a framework tells it more."""

    executed: int
    undifferentiated: int
    quiet: int
    checked: bool

    def is_due(self) -> bool:
        """Is this execution looked at? Cheap: it is asked at every one."""

    def weigh(self, call: Call, describe: Callable[[], Described]) -> object | None:
        """The seat of a call: it is to be copied; None: it adds nothing, or there is no room."""

    def keep(self, sample: Sample) -> None:
        """Keep the sample."""

    def miss(self, why: str) -> None:
        """Count a call that cannot be recorded."""


class Recorder(Protocol):
    """Whoever is told of the custom gradients that run."""

    def entry(self, definition: Definition) -> Entry | None:
        """Its entry; None for a definition that is not watched."""

    def replaces(self, definition: Definition) -> None:
        """Note that a hook, which `definition` says the place of, gave another gradient than it was given."""

    def place(self, line: str = "") -> str:
        """The test, or the line of the script, that runs now: `line` where the caller knows it."""


_unwatched: ContextVar[bool] = ContextVar("unwatched", default=False)

_judgements: list[None] = []
"""One entry for each block of `unwatched` that is open on any thread: callbacks of a runtime have threads of their own."""


def is_anybody_judging() -> bool:
    """Is a judgement made on any thread?"""
    return bool(_judgements)


@contextmanager
def unwatched() -> Iterator[None]:
    """Within the block no call is recorded: those of a judgement are no calls of the project's."""
    token = _unwatched.set(True)
    _judgements.append(None)
    try:
        yield
    finally:
        _judgements.pop()
        _unwatched.reset(token)


class Met:
    """The definitions that a watch met, each looked up once: a call of one that is known costs a look in a dictionary.

    known     by the id of a custom gradient: its definition and entry, or None where it is not watched
    watched   the entries alone, of those that are watched
    judging   true where a judgement is made, on whatever thread: `entry` tells whether it is the caller's
    """

    judging: Sequence[None] = _judgements

    def __init__(self, recorder: Recorder, definition_of: Callable[[Any], Definition | None]) -> None:
        self.recorder, self.definition_of = recorder, definition_of
        self.known: dict[int, tuple[tuple[Definition, Entry] | None, ref[Any]]] = {}
        self.watched: dict[int, Entry] = {}

    def entry(self, custom: Any) -> tuple[Definition, Entry] | None:
        """The definition of a custom gradient and its entry; None where it is not watched, or the judge calls it."""
        met = self.known.get(id(custom))
        known = met[0] if met is not None else self._meet(custom)
        if known is not None and _unwatched.get():
            known[1].checked = True
            return None
        return known

    def _meet(self, custom: Any) -> tuple[Definition, Entry] | None:
        definition = self.definition_of(custom)
        entry = definition and self.recorder.entry(definition)
        found = (definition, entry) if definition and entry else None
        known, watched, key = self.known, self.watched, id(custom)

        def forget(_: object) -> None:  # its id may be another's then
            known.pop(key, None)
            watched.pop(key, None)

        known[key] = (found, ref(custom, forget))
        if found is not None:
            watched[key] = found[1]
        return found
