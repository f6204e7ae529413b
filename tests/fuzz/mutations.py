"""How an input is broken: strategies that change bytes, and trees of plain data."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

LIMIT = 2.0
"""Seconds of CPU for one input."""

QUICK, LONG = 500, 25_000
"""Inputs of one kind: in CI, and with `-m slow`."""


def runs(examples: int) -> Callable[[Any], Any]:
    """So many inputs, the same in each run; without shrinking what is slow is shown at once."""
    return settings(
        max_examples=examples, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck), phases=(Phase.explicit, Phase.generate),
    )  # fmt: skip


def survives(work: Callable[[], Any], *documented: type[BaseException]) -> bool:
    """Does `work` return? It may raise `documented` errors, with a message of at most 5,000 characters."""
    start, said = time.process_time(), ""
    try:
        work()
    except documented as e:
        said = str(e) or type(e).__name__
    took = time.process_time() - start
    assert took < LIMIT, f"{took:.1f} s"
    assert len(said) < 5000, said[:200]
    assert "Traceback" not in said
    return not said


ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**400, -0.0, 1.5, float("inf"), float("nan"), 1e308, "", "x", "x y",
    "\0", "é\u2028", "g",
    "nan", "1e5", "real", "a" * 300, "../../etc", "os:abort", "%s{0}", [], {}, [[]], [None], [1, [2]],
    {"x": 1}, [0, 2**40], "x" + "+x" * 200, "-" * 100 + "x", "(" * 120 + "x" + ")" * 120,
    "x[" + ",".join(["None"] * 40) + "]",
)  # fmt: skip
"""What is put in the place of a value."""


@st.composite
def broken(draw: st.DrawFn, tree: Any, odd: st.SearchStrategy[Any], most: int = 4) -> Any:
    """A tree of dicts and lists, with up to `most` of its values, keys or items changed, doubled or dropped."""
    for _ in range(draw(st.integers(0, most))):
        tree = _change(draw, tree, odd)
    return tree


def _change(draw: st.DrawFn, tree: Any, odd: st.SearchStrategy[Any]) -> Any:
    if not isinstance(tree, dict | list) or not tree or draw(st.integers(0, 11)) == 0:
        return draw(odd)
    if isinstance(tree, dict):
        key = draw(st.sampled_from(sorted(tree, key=str)))
        rest = {k: v for k, v in tree.items() if k != key}
        how = draw(st.integers(0, 9))
        if how == 0:
            return rest
        if how == 1:
            return {**rest, draw(st.sampled_from(["", "x", "name", "expr", "nope", "a" * 500])): tree[key]}
        return {k: _change(draw, v, odd) if k == key else v for k, v in tree.items()}
    i = draw(st.integers(0, len(tree) - 1))
    how = draw(st.integers(0, 9))
    if how == 0:
        return tree[:i] + tree[i + 1 :]
    if how == 1:
        return [*tree, tree[i]]
    return [*tree[:i], _change(draw, tree[i], odd), *tree[i + 1 :]]


@st.composite
def torn(draw: st.DrawFn, data: bytes, most: int = 6) -> bytes:
    """Bytes, some of them flipped, cut out, doubled or replaced."""
    made = bytearray(data)
    for _ in range(draw(st.integers(0, most))):
        if not made:
            break
        i = draw(st.integers(0, len(made) - 1))
        n = draw(st.integers(1, 16))
        how = draw(st.integers(0, 4))
        if how == 0:
            made[i] ^= 1 << draw(st.integers(0, 7))
        elif how == 1:
            del made[i : i + n]
        elif how == 2:
            made[i:i] = made[i : i + n] * draw(st.integers(1, 3))
        elif how == 3:
            made[i : i + n] = draw(st.binary(min_size=n, max_size=n))
        else:
            del made[i:]
    return bytes(made)
