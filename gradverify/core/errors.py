"""Every error that gradverify raises on purpose. Each message says what was wrong and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GradverifyError(Exception):
    """Base of all of gradverify's own errors."""


class ShapeError(GradverifyError, ValueError):
    """Shapes or parameters that an op's shape rule refuses."""


class DomainError(GradverifyError, ValueError):
    """A point outside the domain of an op: there is no gradient to speak of."""


class Unsupported(GradverifyError, NotImplementedError):
    """An ability that a subject or a namespace lacks; the judge turns it into INCONCLUSIVE with this reason."""


class NoRule(Unsupported):
    """A derivative that does not exist: of this operation, in this mode, or of this order."""


class Undefined(Unsupported):
    """A derivative that the framework's documentation leaves undefined: no answer can be wrong there."""


class BadInput(GradverifyError, ValueError):
    """A call that cannot be judged because of its arguments; never a verdict on a gradient."""


class UnknownName(GradverifyError, LookupError):
    """A name that is not in its table, with the closest names that are."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name = kind, name
        self.suggestion = did_you_mean(name, known)
        super().__init__(f"unknown {kind} {name!r}{self.suggestion}")


class SpecError(GradverifyError, ValueError):
    """A spec file that cannot be read: one message with file, line and column (both counted from 1)."""

    def __init__(self, message: str, *, file: str = "<string>", line: int = 1, column: int = 1) -> None:
        self.message, self.file, self.line, self.column = message, file, line, column
        super().__init__(f"{file}:{line}:{column}: {message}")


JUDGED = (Exception, SystemExit, GeneratorExit)
"""What judged code may raise that is laid to it. A KeyboardInterrupt is the user's."""


MOST_TEXT = 2000
"""Characters of a text of somebody else's (an exception, a name) that a message quotes."""


def clipped(text: str, most: int = MOST_TEXT) -> str:
    """The text, without its middle where it is longer than `most` characters."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]} … ({len(text) - 2 * half:,} characters left out) … {text[-half:]}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'softplus'?"`, or an empty string where nothing comes close."""
    if len(name) > MOST_TEXT:
        return ""  # nobody's slip of the pen, and the comparison is quadratic
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    if not close:
        return ""
    return "; did you mean " + " or ".join(repr(c) for c in close) + "?"


class GradverifyNote(UserWarning):
    """News that needs no action by the user: an option of another tool that means nothing here."""
