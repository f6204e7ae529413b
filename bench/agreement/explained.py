"""Why the two checkers disagree: one entry per kind of call, found by the suite, the test's name and our message."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .beside import Row


@dataclass(frozen=True)
class Explanation:
    """`test` and `message` are regular expressions, searched in the test's name and in our answer.

    right says who is: "original", "ours", "both" (the checkers promise different things), "neither".
    """

    suite: str
    text: str
    right: str
    test: str = ""
    message: str = ""

    def covers(self, row: Row) -> bool:
        return (
            row.suite == self.suite
            and re.search(self.test, row.test) is not None
            and re.search(self.message, row.ours.message, re.DOTALL) is not None
        )


EXPLANATIONS: tuple[Explanation, ...] = ()


def explanation(row: Row) -> Explanation | None:
    """The first one that covers the row."""
    return next((e for e in EXPLANATIONS if e.covers(row)), None)
