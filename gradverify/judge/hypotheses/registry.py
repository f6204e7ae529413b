"""The records: a hypothesis, and one prediction of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .evidence import Arrays, Evidence, Walk

WOULD_BE = "{} what it would be "
"""How the text of a guess about a mistake begins."""


@dataclass(frozen=True, eq=False)
class Guess:
    """One prediction.

    text     what is said if it holds; `{}` stands for the arrays and the verb ("dx is")
    predict  the wrong gradients, from a walk: asked again on nudged walks
    tries    how many values of a constant were tried to make it
    free     whether a constant was fitted without any such choice: one entry then says nothing
    chance   logarithm of the probability that it agrees by chance, where the distances do not tell
    """

    text: str
    predict: Callable[[Walk], Arrays]
    tries: int = 1
    free: bool = False
    chance: float | None = None


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A kind of mistake: its name, its description for the documentation, and its predictions at a case.

    `last`: it is tried where no other one holds, since it holds wherever a simpler one does.
    """

    name: str
    sentence: str
    predict: Callable[[Evidence], Iterator[Guess]]
    last: bool = False


def hypothesis(
    name: str, sentence: str, last: bool = False
) -> Callable[[Callable[[Evidence], Iterator[Guess]]], Hypothesis]:
    """A decorator: the predictions as a hypothesis."""

    def declare(predict: Callable[[Evidence], Iterator[Guess]]) -> Hypothesis:
        return Hypothesis(name, sentence, predict, last)

    return declare


def bound(predict: Callable[..., Arrays], *fixed: Any) -> Callable[[Walk], Arrays]:
    """`predict` as a function of the walk alone, with the values that loop variables have here."""
    return lambda walk: predict(walk, *fixed)
