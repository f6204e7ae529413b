"""What a variable of a jaxpr holds while it is walked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...trace.value import Value


class Cell:
    """A variable of a jaxpr: its value at the point, computed when asked for, and its node if it is live.

    `constant`: it is made of literals (and of a program instance's number) alone, so that it is the same at any point.
    """

    __slots__ = ("array", "constant", "make", "symbol")

    def __init__(
        self,
        array: Any = None,
        make: Callable[[], Any] | None = None,
        symbol: Value | None = None,
        constant: bool = False,
    ) -> None:
        self.array, self.make, self.symbol, self.constant = array, make, symbol, constant

    @property
    def live(self) -> bool:
        return self.symbol is not None and self.symbol.live

    def value(self) -> Any:
        if self.make is not None:
            self.array, self.make = self.make(), None
        return self.array
