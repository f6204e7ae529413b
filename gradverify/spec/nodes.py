"""YAML text → a small tree of nodes with positions. Constructs nothing: no tags, no anchors, no objects.

Scalars are resolved by the core schema of YAML 1.2.2 (section 10.3), whatever a `%YAML` directive asks for: `yes`,
`on`, `1_000` and `12:30` are text.
"""

from __future__ import annotations

import bisect
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from ..core.errors import SpecError
from ..core.files import read_regular

MAX_CHARACTERS = 1 << 20
"""Of a file. Ten thousand lines of cases take a quarter of it; the pure-Python scanner reads it in seconds."""

MAX_NODES = 60_000
"""Of a file: keys, texts, numbers and lists. The scanner takes 25 to 30 µs for each, so this is the limit that counts in a
file of numbers: about 1.5 s. What `write` makes has 50,000 numbers at most."""

MAX_DEPTH = 40
"""Of nested lists and mappings: NumPy's own limit of array dimensions, 32 before 2.0, and the document around it."""

MAX_SCALAR_INT_DIGITS = 400
"""Longest integer literal: any finite double has at most 309 digits before the point."""


@dataclass(frozen=True)
class SourceText:
    """A whole file, which maps character offsets to lines and columns."""

    text: str
    file: str = "<string>"

    @cached_property
    def _starts(self) -> list[int]:
        # YAML 1.1's line breaks, which the scanner counts too.
        return [0, *(m.end() for m in re.finditer("\r\n|[\n\r\x85\u2028\u2029]", self.text))]

    def error(self, index: int, message: str) -> SpecError:
        """The error to raise about the character at `index`."""
        line = bisect.bisect_right(self._starts, index)
        return SpecError(message, file=self.file, line=line, column=index - self._starts[line - 1] + 1)

    def line(self, index: int) -> int:
        return bisect.bisect_right(self._starts, index)


@dataclass(frozen=True)
class Node:
    """A stretch `start:end` of the source."""

    source: SourceText = field(repr=False)
    start: int
    end: int

    kind = "a value"

    def error(self, message: str) -> SpecError:
        return self.source.error(self.start, message)

    @property
    def line(self) -> int:
        return self.source.line(self.start)


@dataclass(frozen=True)
class Scalar(Node):
    """A scalar as YAML reads it, quoted or not; `value` is the plain one as the core schema resolves it."""

    text: str
    plain: bool
    block: bool = False

    @staticmethod
    def of(text: str, file: str = "<string>") -> Scalar:
        """Text that comes from no YAML: a command line, a test."""
        return Scalar(SourceText(text, file), 0, len(text), text, True)

    @cached_property
    def value(self) -> str | int | float | bool | None:
        return resolve(self.text) if self.plain else self.text

    @property
    def kind(self) -> str:  # type: ignore[override]
        value = self.value
        if value is None:
            return "nothing"
        return {str: "text", bool: "a boolean", int: "an integer", float: "a number"}[type(value)]

    def position(self, i: int) -> int:
        """Where character `i` of `text` stands in the source.

        Folding, indentation and line joining change white space only, so the k-th other character of the text is
        the k-th other one of the source, escapes counted as what they stand for.
        """
        stops = self._stops
        k = len("".join(self.text[:i].split()))
        if i < len(self.text) and not self.text[i].isspace():
            return stops[k] if k < len(stops) else self.end
        return stops[k - 1] + 1 if 0 < k <= len(stops) else self.start

    @cached_property
    def _stops(self) -> list[int]:
        raw = self.source.text[self.start : self.end]
        if self.plain:
            return [self.start + m.start() for m in re.finditer(r"\S", raw)]
        if self.block:  # skip the header: |2-  # comment
            header = re.match(r"[^\n\r]*", raw)
            skip = header.end() if header else 0
            return [self.start + skip + m.start() for m in re.finditer(r"\S", raw[skip:])]
        quote, body = raw[:1], raw[1:-1]
        if quote == "'":
            return [self.start + 1 + m.start() for m in re.finditer(r"''|\S", body)]
        return [self.start + 1 + m.start() for m in _ESCAPED.finditer(body) if not _blank(m.group())]


_ESCAPED = re.compile(r"\\x..|\\u.{4}|\\U.{8}|\\(?:\r\n|.|[\n\r])|\S", re.DOTALL)


def _blank(token: str) -> bool:
    """Does an escape stand for white space, or for nothing (an escaped line break)?"""
    if len(token) == 1:
        return False
    if token[1] in "xuU":
        return chr(int(token[2:], 16)).isspace()
    return token[1] in "tnvfr NLP_\n\r\t"


@dataclass(frozen=True)
class Sequence(Node):
    items: tuple[Node, ...]

    kind = "a list"


@dataclass(frozen=True)
class Mapping(Node):
    """Keys are scalars and distinct; in the order of the file."""

    entries: tuple[tuple[Scalar, Node], ...]

    kind = "a mapping"


def read(path: str | Path) -> SourceText:
    """The text of a file. Raises SpecError where there is none, or where it is not UTF-8."""
    file = str(path)
    try:
        raw = read_regular(Path(path), 4 * MAX_CHARACTERS)
    except FileNotFoundError:
        raise SpecError("there is no such file", file=file) from None
    except OSError as e:
        raise SpecError(f"cannot be read: {e.strerror or e}", file=file) from None
    except ValueError as e:  # no file, or too large; a NUL in the name
        raise SpecError(f"cannot be read: {e}", file=file) from None
    try:
        return SourceText(raw.decode("utf-8-sig"), file)
    except UnicodeDecodeError as e:
        before = raw[: e.start].decode("utf-8-sig", "replace")
        raise SourceText(before, file).error(
            len(before), f"not UTF-8: byte 0x{raw[e.start]:02x} at offset {e.start}"
        ) from None


def compose(source: SourceText) -> Node:
    """The one document of `source`. Raises SpecError, with a position, for anything else."""
    if len(source.text) > MAX_CHARACTERS:
        raise source.error(0, f"the file has {len(source.text)} characters; at most {MAX_CHARACTERS} are read")
    if source.text.startswith("\ufeff"):
        source = SourceText(source.text[1:], source.file)
    events = _counted(source)
    root: Node | None = None
    for event in events:
        if isinstance(event, DocumentStartEvent):
            if root is not None:
                raise source.error(event.start_mark.index, "a second document: a spec file holds one")
            root = _node(source, events, next(events), 0)
    if root is None:
        raise source.error(0, "the file is empty")
    return root


def _counted(source: SourceText) -> Iterator[Event]:
    """The events of a file of at most MAX_NODES nodes."""
    for n, event in enumerate(_events(source)):
        if n > MAX_NODES:
            raise source.error(event.start_mark.index, f"more than {MAX_NODES} keys and values in one file")
        yield event


def _events(source: SourceText) -> Iterator[Event]:
    yaml = YAML(typ="safe", pure=True)
    try:
        yield from yaml.parse(source.text)
    except MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        problem = " ".join(str(e.problem or e.context or "malformed").split())
        raise source.error(mark.index if mark else 0, f"not YAML: {problem}") from None
    except SpecError:
        raise
    except Exception as e:
        # A third party's scanner on arbitrary text: it also lets ValueError, IndexError and its like escape.
        problem = " ".join(str(getattr(e, "reason", None) or e).split())
        raise source.error(getattr(e, "position", 0) or 0, f"not YAML: {problem}") from None


def _node(source: SourceText, events: Iterator[Event], event: Event, depth: int) -> Node:
    start = event.start_mark.index
    if isinstance(event, AliasEvent):
        raise source.error(start, "anchors and aliases are not part of the format: repeat the value, or use `defaults`")
    if getattr(event, "anchor", None) is not None:
        raise source.error(start, "anchors and aliases are not part of the format: repeat the value, or use `defaults`")
    tag = getattr(event, "tag", None)
    if tag is not None:
        raise source.error(start, f"tags ({tag}) are not part of the format")
    if depth > MAX_DEPTH:
        raise source.error(start, f"nested more than {MAX_DEPTH} deep")
    if isinstance(event, ScalarEvent):
        plain = event.style in (None, "") or not isinstance(event.style, str)
        return Scalar(source, start, event.end_mark.index, event.value, plain, event.style in ("|", ">"))
    if isinstance(event, SequenceStartEvent):
        items: list[Node] = []
        while not isinstance(event := next(events), SequenceEndEvent):
            items.append(_node(source, events, event, depth + 1))
        return Sequence(source, start, event.end_mark.index, tuple(items))
    assert isinstance(event, MappingStartEvent), event
    entries: dict[str, tuple[Scalar, Node]] = {}
    while not isinstance(event := next(events), MappingEndEvent):
        key = _node(source, events, event, depth + 1)
        if not isinstance(key, Scalar):
            raise key.error(f"a key must be text, this is {key.kind}")
        if key.text in entries:
            raise key.error(f"the key {key.text!r} stands twice; first in line {entries[key.text][0].line}")
        value = _node(source, events, next(events), depth + 1)
        if value.start == value.end:  # nothing stands there: the key is what one can point at
            value = replace(value, start=key.start, end=key.start)
        entries[key.text] = (key, value)
    return Mapping(source, start, event.end_mark.index, tuple(entries.values()))


_CORE: tuple[tuple[re.Pattern[str], Callable[[str], str | int | float | bool | None]], ...] = (
    (re.compile(r"(null|Null|NULL|~|)\Z"), lambda text: None),
    (re.compile(r"(true|True|TRUE)\Z"), lambda text: True),
    (re.compile(r"(false|False|FALSE)\Z"), lambda text: False),
    (re.compile(r"[-+]?[0-9]+\Z", re.ASCII), int),
    (re.compile(r"0o[0-7]+\Z"), lambda text: int(text, 8)),
    (re.compile(r"0x[0-9a-fA-F]+\Z"), lambda text: int(text, 16)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z", re.ASCII), float),
    (re.compile(r"[-+]?(\.inf|\.Inf|\.INF)\Z"), lambda text: -math.inf if text[0] == "-" else math.inf),
    (re.compile(r"(\.nan|\.NaN|\.NAN)\Z"), lambda text: math.nan),
)


def resolve(text: str) -> str | int | float | bool | None:
    """A plain scalar as the core schema resolves it. Integers too long for any double stay text."""
    for pattern, make in _CORE:
        if pattern.match(text):
            if make is int and len(text) > MAX_SCALAR_INT_DIGITS:
                return text
            return make(text)
    return text
