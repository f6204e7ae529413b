"""Calls of a file's Functions: a recorded one, or the first that runs of several with small tensors."""

from __future__ import annotations

import contextlib
import inspect
import io
import itertools
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from triton.runtime import interpreter as ti

from ...core.errors import JUDGED, clipped
from ...core.limits import TimeLimit, time_limit
from .interpreter import Patches, mended
from .reading import Argument, Drafted

SHAPES: tuple[tuple[int, ...], ...] = ((3, 6), (6,), (2, 3, 6), (1, 2, 3, 6))
"""Of the first tensor, the likeliest first: few rows, and columns that fill no block."""

TRIALS = 60
"""Calls of one Function at most."""

SECONDS = 5.0
"""Of each."""

SECONDS_IN_ALL = 30.0

Values = tuple[str, ...]


class Runs(Exception):
    """Why a call is no call to draft: what was raised, in a line."""


def find_call(found: Drafted, function: Any) -> None:
    """Find a call of a Function of which both passes run; `found` gets its arguments, or why there is none.

    The kernels that it launches take the place of those that the text names: they may be another file's.
    """
    _resolve(found.arguments, function)
    for a in found.arguments:
        if not a.kind:
            found.unknown.append(f"{a.name}: neither an annotation, nor a default, nor how it is used tells what it is")
        elif a.guessed and a.kind == "literal":
            found.notes.append(f"{a.name} = {a.text} is a guess")
    errors: Counter[str] = Counter()
    tried, end = 0, time.perf_counter() + SECONDS_IN_ALL
    for values in itertools.islice(candidates(found.arguments), TRIALS):
        if time.perf_counter() > end:
            break
        tried += 1
        try:
            found.forward, found.backward = launches(function, [value_of(v) for v in values])
        except Runs as e:
            errors[str(e)] += 1
            continue
        found.values = values
        if not found.forward and not found.backward:
            found.unknown.append(f"{found.name}({', '.join(values)}) launches no kernel of Triton")
        return
    most = errors.most_common(1)[0][0] if errors else "it takes no argument"
    calls = f"{tried} call{'s' * (tried != 1)} tried, {len(errors)} error{'s' * (len(errors) != 1)}"
    found.unknown.append(f"no call of it runs: {most} ({calls})")


def _resolve(arguments: Sequence[Argument], function: Any) -> None:
    """Write defaults that are names (`eps=EPS`) as what they come to; what no text stands for is not known."""
    parameters = inspect.signature(function.forward).parameters
    for a in arguments:
        if a.kind == "literal" and a.name in parameters and not a.guessed:
            default = parameters[a.name].default
            if default is not inspect.Parameter.empty:
                a.text = text_of(default)
                a.kind = "literal" if a.text else ""


def candidates(arguments: Sequence[Argument]) -> Iterator[Values]:
    """Texts of the arguments, the likeliest first: the fewest steps from what each is likeliest to be."""
    for first in SHAPES:
        options, is_first = [], True
        for a in arguments:
            options.append(_options(a, first, is_first))
            is_first = is_first and a.kind not in ("tensor", "")
        if not all(options):
            continue
        # The first tensor's rank changes slowest: of each, some calls before the next.
        most = TRIALS // len(SHAPES)
        yield from itertools.islice(_by_steps(options), most)


def _options(a: Argument, first: tuple[int, ...], is_first: bool) -> list[str]:
    """What an argument may be, given the shape of the first tensor."""
    if a.kind == "literal":
        return [a.text or "None"]
    if a.kind == "integers":
        shapes = [first[:-1], first, first[-1:], first[:1]]
        return list(dict.fromkeys(f"integers({', '.join(map(str, s))})" for s in shapes if s))
    if is_first:
        shapes = [first]
    else:
        cut = range(1, len(first))
        shapes = [first, first[-1:], *(first[:k] for k in reversed(cut)), *(first[k:] for k in cut)]
    draws = [f"draw({', '.join(map(str, s))})" for s in dict.fromkeys(shapes) if a.axes in (None, len(s))]
    if a.kind == "tensor":
        return [*draws, *(["None"] if a.optional else [])]
    return ["None", *draws, "1.0", "1", "False"] if a.optional else [*draws, "1.0", "1", "None", "False"]


def _by_steps(options: Sequence[Sequence[str]]) -> Iterator[Values]:
    """All choices, by the sum of their places in the lists."""

    def choices(of: Sequence[Sequence[str]], steps: int) -> Iterator[Values]:
        if not of:
            if steps == 0:
                yield ()
            return
        for k in range(min(steps, len(of[0]) - 1) + 1):
            yield from ((of[0][k], *rest) for rest in choices(of[1:], steps - k))

    for steps in range(sum(len(o) - 1 for o in options) + 1):
        yield from choices(options, steps)


def launches(function: Any, args: Sequence[Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Run both passes. Returns the kernels that each launches; raises Runs where one of them does not run."""
    passes: tuple[dict[str, None], dict[str, None]] = ({}, {})
    try:
        with mended(), time_limit(SECONDS), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            given = [a for a in args if isinstance(a, torch.Tensor) and a.requires_grad]
            with _noting(passes[0]):
                result = function.apply(*args)
            outputs = result if isinstance(result, tuple) else (result,)
            live = [o for o in outputs if isinstance(o, torch.Tensor) and o.requires_grad]
            if not live or not given:
                raise Runs("nothing in it is differentiated")
            with _noting(passes[1]):
                torch.autograd.grad(live, given, [torch.ones_like(o) for o in live], allow_unused=True)
    except Runs:
        raise
    except TimeLimit:
        raise Runs(f"a call takes over {SECONDS:g} s") from None
    except JUDGED as e:
        text = str(e).strip().splitlines()
        raise Runs(f"{type(e).__name__}: {clipped(text[0], 160)}" if text else type(e).__name__) from None
    return tuple(passes[0]), tuple(passes[1])


@contextlib.contextmanager
def _noting(kernels: dict[str, None]) -> Iterator[None]:
    """Note the names of the kernels that are launched within the block."""
    patches, old = Patches(), ti.GridExecutor.__call__

    def launch(executor: Any, *args: Any, **kwargs: Any) -> Any:
        kernels[executor.fn.__name__] = None
        return old(executor, *args, **kwargs)

    patches.set(ti.GridExecutor, "__call__", launch)
    try:
        yield
    finally:
        patches.undo()


def draw(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """A tensor of normal numbers that requires grad, the same at each call."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()


def integers(*shape: int) -> torch.Tensor:
    """A tensor of 0, 1 and 2, the same at each call."""
    return torch.randint(0, 3, shape, generator=torch.Generator().manual_seed(0))


def value_of(text: str) -> Any:
    """What an argument's text in the draft comes to."""
    return eval(text, {"draw": draw, "integers": integers, "torch": torch, "float": float})


MOST_LITERAL = 64
"""Integers of a recorded tensor that are written into the draft as they are."""


def text_of(value: Any) -> str:
    """The text of a recorded argument: shapes and dtypes of floating-point tensors, the values of small integer ones.

    "" of what no text stands for.
    """
    if not isinstance(value, torch.Tensor):
        return repr(value) if value is None or isinstance(value, bool | int | float | str) else ""
    dtype = "" if value.dtype is torch.float32 else f", dtype={value.dtype}"
    shape = ", ".join(map(str, value.shape))
    if value.is_floating_point():
        grad = "" if value.requires_grad else ".detach()"
        return (
            f"draw({shape}{dtype}){grad}"
            if shape
            else f"draw(1{dtype})[0].detach()" + (".requires_grad_()" if not grad else "")
        )
    if value.is_complex():
        return ""
    if value.numel() <= MOST_LITERAL:
        return f"torch.tensor({value.tolist()}, dtype={value.dtype})"
    return f"torch.randint({int(value.min())}, {int(value.max()) + 1}, ({shape},), dtype={value.dtype})"


def take_call(found: Drafted, recorded: Sequence[tuple[str, Any]], active: Sequence[str], function: Any) -> None:
    """Draft a recorded call, differentiated by `active`; `found` gets its arguments, and what no text stands for."""
    given = {n: v.requires_grad_() if n in active and isinstance(v, torch.Tensor) else v for n, v in recorded}
    texts = {name: text_of(value) for name, value in given.items()}
    found.arguments = [Argument(name, "recorded") for name in texts]
    unwritten = [n for n, text in texts.items() if not text]
    if unwritten:
        found.unknown += [
            f"{n}: a {type(dict(recorded)[n]).__name__} was recorded, which no text stands for" for n in unwritten
        ]
        return
    strided = [n for n, v in recorded if isinstance(v, torch.Tensor) and not v.is_contiguous()]
    found.notes += [f"{n} was not contiguous in memory" for n in strided]
    try:
        found.forward, found.backward = launches(function, [value_of(t) for t in texts.values()])
        found.values = tuple(texts.values())
    except Runs as e:
        found.unknown.append(f"the recorded call does not run with drawn numbers: {e}")
