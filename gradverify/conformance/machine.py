"""Two engines through the same random program: after each step every flag, value, gradient and error type agrees.

A program is data, a list of steps that refer to earlier ones by number; so it can be replayed, cut down and printed. `Pair`
runs one step on both engines and compares; `propose` draws the next step from whoever chooses (a random generator here,
Hypothesis in `stateful`); `search` does many programs; `shrink` cuts a failing one down to what it needs.
"""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from .engines import Engine
from .moves import HANDLE, MOVES, TENSOR, Move
from .script import Entry, lines
from .session import Session, Var

LENGTH = 24
"""Steps in one random program. Longer ones find little more, and each step costs as many looks as there are tensors."""

ALIVE = 10
"""Tensors that a program has at most; then the oldest is let go, so that graphs also die."""

EXACT = 2.0**20
"""Where a value or gradient exceeds this, the program ends: float32 holds integers exactly to 2^24, and what the observed
numbers were summed from may be larger than they are."""


@dataclass(frozen=True)
class Step:
    """`move` of MOVES on the results of the steps `args`, with its option of number `option`."""

    number: int
    move: str
    args: tuple[int, ...] = ()
    option: int = 0


@dataclass(frozen=True)
class Divergence:
    """Where subject and reference differ: after the last of `steps`, in `what` (a flag, "value", "grad", "error")."""

    steps: tuple[Step, ...]
    what: str
    expected: Any
    got: Any
    script: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.what}: expected {self.expected}, got {self.got}"


class Pair:
    """A subject and a reference, in the middle of the same program."""

    def __init__(self, subject: Engine, reference: Engine) -> None:
        self.sessions = (Session(subject), Session(reference))
        self.results: dict[int, tuple[str, Any, Any]] = {}
        self.blocks: list[tuple[Var, Var]] = []
        self.steps: list[Step] = []
        self.second: set[int] = set()
        self.born: dict[int, tuple[int, int]] = {}  # the version counters of a result when it was made
        self.memory: dict[int, int] = {}  # step -> the step whose memory its result is
        self.leaves: set[int] = set()  # what was a leaf that requires grad, now or before
        self.hooked: set[int] = set()
        self.stale: set[int] = set()  # views that may not even be asked for their history any more
        self.over = False

    def alive(self, kind: str) -> list[int]:
        return [n for n, (k, _, _) in self.results.items() if k == kind]

    def step(self, step: Step) -> Divergence | None:
        """Run one step on both. A step whose arguments are missing (cut away, or never made) is left out."""
        if any(a not in self.results for a in step.args) or (step.move == "end" and not self.blocks):
            return None
        kinds = MOVES[step.move].takes if step.move in MOVES else (TENSOR,)
        if any(self.results[a][0] != kind for a, kind in zip(step.args, kinds)):
            return None
        self.steps.append(step)
        if step.move == "end":
            for block in self.blocks.pop():
                block.__exit__(None, None, None)
            return self.compare()
        if step.move == "forget":
            for one in self.results.pop(step.args[0])[1:]:
                one._session.forget(one)
            return self.compare()
        move = MOVES[step.move]
        (got, failed), (want, expected) = (
            attempt(session, move, [self.results[a][1 + i] for a in step.args], move.options[step.option])
            for i, session in enumerate(self.sessions)
        )
        if INTERNAL in (failed, expected):
            self.over = True
            return None
        if failed != expected:
            return self._error(expected, failed)
        if failed is not None and move.walks:
            self.over = True  # how far it got is anyone's guess
            return None
        if failed is None and move.makes is not None:
            if move.makes == "block":
                for one in (got, want):
                    one.__enter__()
                self.blocks.append((got, want))
            elif (got._value is None) != (want._value is None):
                return self._diverged(
                    "None", want._value is None, got._value is None, "assert ({0} is None) is {1}", got
                )
            elif got._value is not None:
                self.results[step.number] = (move.makes, got, want)
                source = step.args[0] if step.args else None
                if move.makes == HANDLE and source is not None:
                    self.hooked.add(source)
                if move.makes == TENSOR:
                    self.born[step.number] = (got._value._version, want._value._version)
                if source is not None and (move.shares or (move.name == "take" and source in self.memory)):
                    self.memory[step.number] = self.memory.get(source, source)
                elif move.name == "take" and step.option:
                    self.second.add(step.number)
        return self.compare()

    def ambiguous(self, move: Move, args: Sequence[int]) -> bool:
        """Whether this is one of the things that PyTorch leaves open, or fails at; they are not drawn:

        * views that exist or not by the layout of an op's result ("view or copy": the documentation of reshape)
        * another memory for a tensor that has views (`x.data = …`), or of another shape
        * edits of a view where it, or a view that it was made from, has a hook: that is about the view as it was ("Behavior
          of Tensor hooks when Tensor is modified in-place"), but PyTorch sends the gradient to the base, past the hook
        * writing from memory that is written to and has gaps: what is read depends on the order of the writes
        * writing the one entry of a tensor into itself (y[0] = y): whether the two overlap in full or in part PyTorch
          decides by the strides of axes of length 1, which no documentation fixes
        * filling an expanded tensor that requires grad, whose gradient PyTorch refuses only where it is asked for
        * indexing a view that may not be used any more: two errors, of which either may come first; a hook on one: the
          second attempt succeeds
        * a function that marks a former leaf dirty: PyTorch ends the process (see `tests/conformance/test_machine.py`)
        * edits of a retaining tensor that is a second output, or that was detached in place: internal errors of PyTorch
          (the laws `retained_second_output_can_be_edited` and `retaining_tensor_can_be_detached`)
        """
        root = self.memory.get(args[0], args[0]) if args else None
        if move.name == "view":
            return bool(self.results[args[0]][2]._value.ndim > 1)
        if move.name == "set_data":
            x, y = (self.results[a][2]._value for a in args)
            shared = {*self.memory, *self.memory.values()}
            return args[0] == args[1] or x.shape != y.shape or not shared.isdisjoint(args)
        if (move.indexes or move.makes == HANDLE) and args and args[0] in self.stale:
            return True
        if move.inplace and args[0] in self.memory and any(self.memory.get(h) == root for h in self.hooked):
            return True
        overlaps = move.inplace and len(set(args)) == 2 and root == self.memory.get(args[1], args[1])
        if overlaps and not all(self.results[a][2]._value.is_contiguous() for a in args):
            return True
        if move.name == "write" and root == self.memory.get(args[1], args[1]):
            x, y = (self.results[a][2]._value for a in args)
            if y.numel() == 1 and x.numel() == 1:
                return True
        if move.name in ("zero_", "copy_"):
            x = self.results[args[0]][2]._value
            if x.requires_grad and any(n > 1 and stride == 0 for n, stride in zip(x.shape, x.stride())):
                return True
        if move.name == "Double_" and args[0] in self.leaves:
            return args[0] in self.stale or not self.results[args[0]][2]._value.is_leaf
        if move.name == "detach_":
            return bool(self.results[args[0]][2]._value.retains_grad)
        if move.inplace and root in self.second:
            return root not in self.results or bool(self.results[root][2]._value.retains_grad)
        return False

    def compare(self) -> Divergence | None:
        """Every flag, value and gradient of every tensor that is alive."""
        s, r = self.sessions
        for n, (kind, got, want) in self.results.items():
            if kind != TENSOR:
                continue
            a, b = observe(got._value, self.born[n][0]), observe(want._value, self.born[n][1])
            if len(b) == STALE:
                self.stale.add(n)
            elif b[2] and b[3]:
                self.leaves.add(n)
            if a != b:
                if len(a) != len(b):
                    return self._diverged("flags", b[1:2], a[1:2], "assert {0}.is_leaf in (True, False)", got)
                k = next(k for k in range(len(a)) if a[k] != b[k])
                if k < 2 and not all(v is None or isinstance(v, str) or _small(v) for v in (a[k], b[k])):
                    self.over = True
                    return None
                return self._diverged(LOOKS[k][0], b[k], a[k], LOOKS[k][1], got)
            self.over = self.over or not (_small(b[0]) and (b[1] is None or isinstance(b[1], str) or _small(b[1])))
        if "seen" in r.env and s.env["seen"] != r.env["seen"]:
            return self._diverged("hooks", r.env["seen"], s.env["seen"], "assert seen == {1}", None)
        modes = [x.env[x.engine.module].is_grad_enabled() for x in self.sessions]
        if modes[0] != modes[1]:
            return self._diverged("mode", modes[1], modes[0], "assert torch.is_grad_enabled() is {1}", None)
        return None

    def close(self) -> None:
        """Leave all blocks, and restore the process."""
        while self.blocks:
            for block in self.blocks.pop():
                block.__exit__(None, None, None)
        for session in self.sessions:
            session.restore()

    def _diverged(self, what: str, expected: Any, got: Any, text: str, x: Var | None) -> Divergence:
        session = self.sessions[0]
        if expected is None and what == "grad":
            text = "assert {0}.grad is None"
        entries = [*session.entries, *([Entry("", closes=True)] * len(self.blocks))]
        entries.append(Entry(text.replace("{1}", repr(expected)), () if x is None else (x._id,)))
        script = [*session.engine.setup, *lines(entries)]
        script[-1] += f"  # got {got}"
        return Divergence(tuple(self.steps), what, expected, got, tuple(script))

    def _error(self, expected: str | None, got: str | None) -> Divergence:
        session = self.sessions[0]
        if expected is None:
            last = session.entries[-1]
            session.entries[-1] = Entry(last.text, last.args)
            script = session.script()
            script[-1] += f"  # {got}"
        else:
            last = session.entries[-1]
            session.entries[-1] = Entry(last.text, last.args, error=expected, missing=True)
            script = session.script()
        return Divergence(tuple(self.steps), "error", expected or "no error", got or "no error", tuple(script))


INTERNAL = "internal error"
"""What an engine says of itself ("INTERNAL ASSERT FAILED … please report a bug") is no answer that another is held to."""


def attempt(session: Session, move: Move, args: Sequence[Any], option: Any) -> tuple[Any, str | None]:
    """The result of a move, and the name of the exception's type if it raised one."""
    try:
        return move.do(session, *args, option), None
    except Exception as e:
        last = session.entries[-1]
        name = INTERNAL if "INTERNAL ASSERT FAILED" in str(e) else type(e).__name__
        session.entries[-1] = Entry(last.text, last.args, error=name)
        return None, name


# What is looked at: what it is called, and how a script asserts it.
LOOKS = (
    ("value", "assert {0}.tolist() == {1}"),
    ("grad", "assert {0}.grad.tolist() == {1}"),
    ("requires_grad", "assert {0}.requires_grad is {1}"),
    ("is_leaf", "assert {0}.is_leaf is {1}"),
    ("grad.requires_grad", "assert {0}.grad.requires_grad is {1}"),
    ("retains_grad", "assert {0}.retains_grad is {1}"),
    ("_version", "assert {0}._version == {1}"),
    ("_is_view", "assert {0}._is_view() is {1}"),
    ("grad_fn", "assert type({0}.grad_fn).__name__.rstrip('0123456789') == {1}"),
)


STALE = 2
"""How much there is to see of a view that was made within no_grad, or with others by one call, and whose base was edited."""


def observe(x: Any, born: int) -> tuple[Any, ...]:
    """All that LOOKS names, of one tensor; its version counted from what it was when the program first saw it."""
    try:
        requires, leaf, g = x.requires_grad, x.is_leaf, x.grad
    except RuntimeError as e:
        return (x.tolist(), f"{type(e).__name__} when asked")
    return (
        x.tolist(),
        None if g is None else g.tolist(),
        requires,
        leaf,
        None if g is None else g.requires_grad,
        x.retains_grad,
        x._version - born,
        x._is_view(),
        type(x.grad_fn).__name__.rstrip("0123456789"),  # the number is that of an overload, and of PyTorch's version
    )


def _small(x: Any) -> bool:
    return all(map(_small, x)) if isinstance(x, list) else -EXACT < x < EXACT


_NAMES = list(MOVES)
_WEIGHTS = list(accumulate(m.weight for m in MOVES.values()))
Choose = Callable[[int], int]
"""choose(n) gives a number from 0 to n - 1."""


def propose(pair: Pair, choose: Choose, name: str | None = None, skip: frozenset[str] = frozenset()) -> Step | None:
    """The next step, of the move `name` or one drawn by weight. None where its arguments do not exist yet."""
    number = len(pair.steps)
    alive = pair.alive(TENSOR)
    if len(alive) > ALIVE:
        return Step(number, "forget", (alive[0],))
    if pair.blocks and name is None and not choose(4):
        return Step(number, "end")
    if name is None:
        at = choose(_WEIGHTS[-1])
        name = next(n for n, w in zip(_NAMES, _WEIGHTS) if at < w)
    move = MOVES[name]
    if name in skip or (move.makes == "block" and len(pair.blocks) > 2):
        return None
    args = []
    for kind in move.takes:
        there = alive if kind is TENSOR else pair.alive(kind)
        if not there:
            return None
        args.append(there[choose(len(there))])
    if pair.ambiguous(move, args):
        return None
    return Step(number, name, tuple(args), choose(len(move.options)))


@dataclass
class Search:
    """The result of a search."""

    steps: int = 0
    programs: int = 0
    errors: int = 0
    seconds: float = 0.0
    divergences: list[Divergence] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Steps per second, on both engines together, comparison included."""
        return self.steps / self.seconds if self.seconds else 0.0


def search(
    subject: Engine, reference: Engine, steps: int, seed: int = 0, *, stop: int = 1, skip: frozenset[str] = frozenset()
) -> Search:
    """Random programs until `steps` steps are done or `stop` divergences are found, each cut down."""
    done, started = Search(), time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while done.steps < steps and len(done.divergences) < stop:
            rng = random.Random(f"{seed}/{done.programs}")
            done.programs += 1
            pair = Pair(subject, reference)
            found = None
            for step in _program(pair, lambda n, rng=rng: int(rng.random() * n), skip):  # type: ignore[misc]
                found = pair.step(step)
                done.steps += 1
                if found is not None or pair.over:
                    break
            pair.close()
            if found is not None:
                done.divergences.append(shrink(found, subject, reference))
    done.seconds = time.perf_counter() - started
    return done


def _program(pair: Pair, choose: Choose, skip: frozenset[str]) -> Iterator[Step]:
    while len(pair.steps) < LENGTH:
        step = propose(pair, choose, skip=skip)
        if step is not None:
            yield step


def replay(steps: Sequence[Step], subject: Engine, reference: Engine) -> Divergence | None:
    """The first divergence of a program, unless an earlier step is ambiguous; None without any."""
    pair = Pair(subject, reference)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for step in steps:
                known = step.move in MOVES and all(a in pair.results for a in step.args)
                if known and pair.ambiguous(MOVES[step.move], step.args):
                    return None
                found = pair.step(step)
                if found is not None or pair.over:
                    return found
    finally:
        pair.close()
    return None


def shrink(found: Divergence, subject: Engine, reference: Engine) -> Divergence:
    """The same kind of divergence from fewer and simpler steps: none can be left out, each option and argument as early as
    it goes."""

    def still(steps: Sequence[Step]) -> bool:
        nonlocal found
        again = replay(steps, subject, reference)
        if again is None or again.what != found.what or len(again.steps) > len(found.steps):
            return False
        if found.what == "error" and (again.expected, again.got) != (found.expected, found.got):
            return False
        found = again
        return True

    size = None
    while size != (size := _size(found.steps)):
        k = len(found.steps) - 1
        while k >= 0:
            if k < len(found.steps):
                still([*found.steps[:k], *found.steps[k + 1 :]])
            k -= 1
        for simpler in _simpler(found.steps):
            if _size(simpler) < _size(found.steps):
                still(simpler)
    return found


def _size(steps: Sequence[Step]) -> tuple[int, int, int]:
    return len(steps), sum(s.option for s in steps), sum(sum(s.args) for s in steps)


def _simpler(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Programs of the same length: with another option or argument, or an argument's input in its place."""
    inputs = {s.number: s.args for s in steps}
    for k, s in enumerate(steps):
        for option in range(s.option):
            yield [*steps[:k], Step(s.number, s.move, s.args, option), *steps[k + 1 :]]
        for i, a in enumerate(s.args):
            for b in (*inputs.get(a, ()), *[t.number for t in steps[:k] if t.number < a]):
                yield [
                    *steps[:k],
                    Step(s.number, s.move, (*s.args[:i], b, *s.args[i + 1 :]), s.option),
                    *steps[k + 1 :],
                ]
