"""A corpus: the graphs that took what no graph before them took, in Hypothesis's example database.

A value of the database is a sequence of Hypothesis's choices: what the graph takes (a text, one feature a line), then its
seed, its number and its dtype, which `generate.campaign.seeded_case` makes the case of.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ...core.errors import GradverifyError
from ...generate.structure import limits

if TYPE_CHECKING:
    from hypothesis.database import ExampleDatabase


class Example(NamedTuple):
    """A graph of a corpus: its seed, its number, and the dtype that it took something new in."""

    seed: int
    graph: int
    dtype: str


def database(places: Sequence[str]) -> ExampleDatabase:
    """Hypothesis's database in a directory or at `redis://…`; of several, one that reads and writes them all.

    Raises GradverifyError where Hypothesis or Redis's client is not installed, or the place cannot be used.
    """
    try:
        from hypothesis.database import MultiplexedDatabase, choices_to_bytes  # noqa: F401
    except ImportError:
        raise GradverifyError("a corpus needs Hypothesis 6.125 or newer: pip install -U gradverify[graphs]") from None
    made = [_one(place) for place in places]
    return made[0] if len(made) == 1 else MultiplexedDatabase(*made)


def _one(place: str) -> ExampleDatabase:
    from hypothesis.database import DirectoryBasedExampleDatabase

    if not place.startswith(("redis://", "rediss://", "unix://")):
        try:
            Path(place).mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise GradverifyError(f"{place}: no directory for a corpus: {e.strerror}") from None
        return DirectoryBasedExampleDatabase(place)
    try:
        from hypothesis.extra.redis import RedisExampleDatabase
        from redis import Redis, RedisError
    except ImportError:
        raise GradverifyError(f"{place} needs Redis's client: pip install redis") from None
    client = Redis.from_url(place)
    try:
        client.ping()
    except RedisError as e:
        raise GradverifyError(f"{place} does not answer: {e}") from None
    return RedisExampleDatabase(client)


def key(order: int = 1) -> bytes:
    """Of the graphs that one op table draws: with another table a number stands for another graph."""
    drawn = hashlib.blake2b(repr(limits(None)).encode(), digest_size=6).hexdigest()
    return f"gradverify corpus 1, order {order}, {drawn}".encode()


class Corpus:
    """A corpus in a database, read once; other machines may write to it meanwhile.

    kept     example -> what it takes, as far as it was told
    covered  what any of them takes
    """

    def __init__(self, database: ExampleDatabase, order: int = 1) -> None:
        self.database, self.key = database, key(order)
        self.kept: dict[Example, set[str]] = {}
        for example, features in self._read():
            self.kept.setdefault(example, set()).update(features)
        self.covered = set().union(*self.kept.values())

    def _read(self) -> Iterator[tuple[Example, list[str]]]:
        from hypothesis.database import choices_from_bytes

        for value in self.database.fetch(self.key):
            match choices_from_bytes(value):
                case (str(text), int(seed), int(graph), str(dtype)) if graph >= 0:
                    yield Example(seed, graph, dtype), text.split("\n")

    def examples(self) -> tuple[Example, ...]:
        """Enough of them to take all that is covered, what takes most first: the greedy cover (Chvátal 1979)."""
        heap = [(-len(features), example) for example, features in self.kept.items()]
        heapq.heapify(heap)
        chosen, left = list[Example](), set(self.covered)
        while left:
            _, example = heapq.heappop(heap)
            gain = len(self.kept[example] & left)
            if heap and gain < -heap[0][0]:  # others may have taken its features: a gain only ever shrinks
                if gain:
                    heapq.heappush(heap, (-gain, example))
                continue
            chosen.append(example)
            left -= self.kept[example]
        return tuple(chosen)

    def learn(self, example: Example, took: Collection[str]) -> bool:
        """Keep an example that takes what no other does; is it kept?"""
        from hypothesis.database import choices_to_bytes

        if self.covered.issuperset(took):
            return False
        self.kept.setdefault(example, set()).update(took)
        self.covered.update(took)
        self.database.save(self.key, choices_to_bytes(("\n".join(sorted(took)), *example)))
        return True
