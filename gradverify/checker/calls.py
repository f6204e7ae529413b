"""How many forward calls a judgement by differences may make, and how they are shared out.

An opaque function may be a kernel under an interpreter, of which a call takes a tenth of a second. So each effort has a
number, stated in the verdict, that one order in one mode does not exceed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

CALLS: Mapping[str, int] = {"quick": 600, "normal": 2400, "thorough": 9600}
"""Forward calls for differences, over all points of one order in one mode. A look takes LOOK. Quick: three looks, two more
where one of them contradicts the gradient, and the search for the entry. Normal: as many looks again for entries, and one at
each of some ten points; thorough: four times that."""

LOOK = 90
"""Forward calls that a slope takes: 52 on the ladder, 9 or 18 for the noise, some 20 where values stand still at the
smallest steps (`oracle.blackbox.slope`)."""

AT_GIVEN_POINT = 1 / 2
"""Of all calls, for looks at the given point that find nothing. What finds something takes as many as are left."""

ELSEWHERE = 1 / 16
"""Of all calls, for looks at another point."""


USED_UP = "the {:,} forward calls of this effort are used up"


class OutOfCalls(Exception):
    """The forward calls are used up."""


@dataclass
class Calls:
    """The forward calls of a question: how many there may be, and how many were made.

    fine  are entries asked by themselves until half of the dtype's digits are seen of each? Else those that no direction
          shows
    """

    most: int = CALLS["normal"]
    fine: bool = False
    made: int = 0

    @classmethod
    def of(cls, effort: str) -> Calls:
        """Those of an effort."""
        return cls(CALLS[effort], effort != "quick")

    @property
    def left(self) -> int:
        return self.most - self.made

    def spend(self) -> None:
        """Count one call; raises OutOfCalls where none is left."""
        if self.made >= self.most:
            raise OutOfCalls
        self.made += 1
