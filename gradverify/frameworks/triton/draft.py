"""Tests drafted for the kernels of a file: its `@triton.jit` functions, the Functions that launch them, and with what.

The file's text says which kernels the forward and the backward pass launch, which parameters are tensors (by annotation, or
by how they are used) and how many axes some have. What it does not say is tried: the Function is called with small tensors
of several ranks, and the first call of which both passes run is taken. What is left is said.
"""

from __future__ import annotations

import ast
import contextlib
import io
import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ...core.errors import JUDGED
from ...core.limits import TimeLimit, time_limit

TENSOR = frozenset(
    "shape stride contiguous dtype device numel data_ptr view reshape is_contiguous ndim size dim element_size T to "
    "new_empty new_zeros is_cuda transpose flatten unsqueeze".split()
)
"""Attributes that tell a tensor."""

INTEGER = ("target", "label", "ids", "index", "indices", "seqlen", "tokens", "mask_id")
"""Parts of the names of tensors that hold integers."""

SHAPES: Mapping[int, tuple[int, ...]] = {0: (), 1: (6,), 2: (3, 6), 3: (2, 3, 6), 4: (1, 2, 3, 6)}
"""By the number of axes: few rows, and columns that fill no block."""

TRIALS = 40
"""Calls of one Function at most."""

SECONDS = 5.0
"""Of each."""

LITERALS = {"int": "1", "float": "1.0", "bool": "False", "str": '""'}


@dataclass
class Argument:
    """A parameter of a Function's forward pass.

    kind   "tensor", "integers" (a tensor of them), "literal", or "" where nothing tells
    axes   how many the text says it has; None where it does not
    text   of a literal: the value that it is given
    """

    name: str
    kind: str = ""
    axes: int | None = None
    text: str = ""


@dataclass
class Drafted:
    """A Function, its kernels, and the call that was found for it.

    values   the text of each argument, in order; None where no call was found
    unknown  what could not be worked out
    """

    name: str
    line: int
    forward: tuple[str, ...]
    backward: tuple[str, ...]
    arguments: list[Argument]
    values: tuple[str, ...] | None = None
    unknown: list[str] = field(default_factory=list)


@dataclass
class Kernels:
    """What a file has: kernel -> line, and its Functions; `alone` are kernels that no Function launches."""

    kernels: dict[str, int]
    functions: list[Drafted]

    @property
    def alone(self) -> tuple[str, ...]:
        used = {k for f in self.functions for k in (*f.forward, *f.backward)}
        return tuple(k for k in self.kernels if k not in used)


def read(path: Path) -> Kernels:
    """The kernels and Functions of a file, by its text alone. Raises SyntaxError."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    found = {n.name: n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    kernels = {n: f.lineno for n, f in found.items() if _is_kernel(f)}
    top = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name not in kernels}
    called = _calls_of_kernels(kernels, top)
    functions = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        methods = {m.name: m for m in node.body if isinstance(m, ast.FunctionDef)}
        if not {"forward", "backward"} <= methods.keys() or not any("Function" in ast.unparse(b) for b in node.bases):
            continue
        names = [a.arg for a in (*methods["forward"].args.posonlyargs, *methods["forward"].args.args)]
        names = names if "setup_context" in methods else names[1:]
        functions.append(
            Drafted(
                node.name,
                node.lineno,
                tuple(sorted(called(methods["forward"]))),
                tuple(sorted(called(methods["backward"]))),
                [_argument(n, methods["forward"], top) for n in names],
            )
        )
    return Kernels(kernels, functions)


def _is_kernel(f: ast.FunctionDef) -> bool:
    """Has it the decorator `triton.jit`?"""
    names = [ast.unparse(d).partition("(")[0] for d in f.decorator_list]
    return any(n in ("triton.jit", "jit") for n in names)


def _calls_of_kernels(kernels: Mapping[str, int], top: Mapping[str, ast.FunctionDef]) -> Callable[..., set[str]]:
    """Kernels that a function names, or a function of the file that it calls."""

    def called(f: ast.AST, seen: frozenset[str] = frozenset()) -> set[str]:
        names = {n.id for n in ast.walk(f) if isinstance(n, ast.Name)}
        inner = (called(top[n], seen | {n}) for n in names & top.keys() - seen)
        return set(itertools.chain(names & kernels.keys(), *inner))

    return called


def _argument(name: str, f: ast.FunctionDef, top: Mapping[str, ast.FunctionDef], depth: int = 3) -> Argument:
    """What a function's text says of one of its parameters."""
    out = Argument(name)
    arguments = [*f.args.posonlyargs, *f.args.args]
    defaults = dict(zip([a.arg for a in arguments][len(arguments) - len(f.args.defaults) :], f.args.defaults))
    annotation = next((ast.unparse(a.annotation) for a in arguments if a.arg == name and a.annotation), "")
    if "Tensor" in annotation:
        out.kind = "tensor"
    elif annotation in LITERALS:
        out.kind, out.text = "literal", LITERALS[annotation]
    if name in defaults:
        out.text = ast.unparse(defaults[name])
        out.kind = out.kind or "literal"
        out.kind = "literal" if out.text == "None" else out.kind
    if out.kind == "literal":
        return out
    for node in ast.walk(f):
        match node:
            case ast.Attribute(value=ast.Name(id=n), attr=attr) if n == name and attr in TENSOR:
                out.kind = "tensor"
            case ast.Call(func=ast.Attribute(attr=a), args=[ast.Name(id=n), *_]) if n == name and a.endswith("_like"):
                out.kind = "tensor"
            case ast.Assign(
                targets=[ast.Tuple(elts=axes)], value=ast.Attribute(value=ast.Name(id=n), attr="shape")
            ) if n == name and not any(isinstance(e, ast.Starred) for e in axes):
                out.axes = out.axes or len(axes)
            case ast.Call(func=ast.Name(id=g), args=given) if g in top and depth:
                of = [a.arg for a in (*top[g].args.posonlyargs, *top[g].args.args)]
                for there, passed in zip(of, given):
                    if isinstance(passed, ast.Name) and passed.id == name:
                        inner = _argument(there, top[g], top, depth - 1)
                        out.kind, out.axes = out.kind or inner.kind, out.axes or inner.axes
                        out.text = out.text or inner.text
    if out.kind == "tensor" and any(part in name.lower() for part in INTEGER):
        out.kind = "integers"
    return out


# ---- calls that run -------------------------------------------------------------------------------------------------


def work_out(found: Drafted, function: Any) -> None:
    """Find a call of a Function of which both passes run; `found` gets its arguments, or why there is none."""
    for a in found.arguments:
        if not a.kind:
            found.unknown.append(f"{a.name}: neither an annotation, nor a default, nor how it is used tells what it is")
    errors: dict[str, None] = {}
    for values in itertools.islice(_candidates(found.arguments), TRIALS):
        why = _runs(function, values)
        if not why:
            found.values = values
            return
        errors[why] = None
    tried = f"{len(errors)} kinds of errors in {TRIALS} calls at most"
    found.unknown.append(f"no call runs: {next(iter(errors), 'it takes no argument')} ({tried})")


def _candidates(arguments: Sequence[Argument]) -> Iterator[tuple[str, ...]]:
    """Texts of the arguments, the likeliest first."""
    options: list[list[str]] = []
    first = True
    for a in arguments:
        ranks = [a.axes] if a.axes is not None else [2, 1, 3, 4] if first else [1, 2, 3, 4]
        draws = [f"draw({', '.join(map(str, SHAPES[r]))})" for r in ranks if r in SHAPES]
        if a.kind == "integers":
            options.append(["integers(3)", "integers(2, 3)", "integers(6)"])
        elif a.kind == "literal":
            options.append([a.text or "None"])
        elif a.kind == "tensor":
            options.append(draws)
            first = False
        else:
            options.append([*draws[:1], "1.0", "1", "None"])
    ordered = sorted(itertools.product(*(range(len(o)) for o in options)), key=sum) if _size(options) < 5000 else ()
    for chosen in ordered:
        yield tuple(o[k] for o, k in zip(options, chosen))


def _size(options: Sequence[Sequence[str]]) -> int:
    out = 1
    for o in options:
        out *= len(o)
    return out


def _runs(function: Any, values: Sequence[str]) -> str:
    """ "" where both passes run and something has a gradient; else what was raised, in a line."""
    try:
        with time_limit(SECONDS), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            args = [_value(v) for v in values]
            given = [a for a in args if isinstance(a, torch.Tensor) and a.requires_grad]
            result = function.apply(*args)
            outputs = result if isinstance(result, tuple) else (result,)
            live = [o for o in outputs if isinstance(o, torch.Tensor) and o.requires_grad]
            if not live or not given:
                return "nothing in it is differentiated"
            torch.autograd.grad(live, given, [torch.ones_like(o) for o in live], allow_unused=True)
            return ""
    except TimeLimit:
        return f"a call takes over {SECONDS:g} s"
    except JUDGED as e:
        text = str(e).strip().splitlines()
        return f"{type(e).__name__}: {text[0][:160]}" if text else type(e).__name__


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).requires_grad_()


def integers(*shape: int) -> torch.Tensor:
    return torch.randint(0, 3, shape, generator=torch.Generator().manual_seed(0))


def _value(text: str) -> Any:
    return eval(text, {"draw": draw, "integers": integers, "torch": torch, "float": float})


# ---- the draft ------------------------------------------------------------------------------------------------------

HEAD = '''"""Drafted by `gradverify kernel {file}`: look at the arguments, and at what could not be worked out."""

import os

os.environ.setdefault("TRITON_INTERPRET", "1")  # before Triton is imported

import torch

import gradverify
from {module} import {names}


def draw(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()


def integers(*shape):
    return torch.randint(0, 3, shape, generator=torch.Generator().manual_seed(0))
'''


def written(found: Kernels, file: str, module: str) -> str:
    """The test file."""
    names = ", ".join(f.name for f in found.functions)
    parts = [HEAD.format(file=file, module=module, names=names)]
    for f in found.functions:
        values = f.values or tuple(a.text if a.kind == "literal" and a.text else "..." for a in f.arguments)
        lines = [f"def test_{f.name.lower()}():"]
        lines += [
            f'    """Forward: {", ".join(f.forward) or "no kernel"}; backward: {", ".join(f.backward) or "no kernel"}."""'
        ]
        lines += [f"    # TODO {u}" for u in f.unknown]
        lines += [f"    {a.name} = {v}" for a, v in zip(f.arguments, values)]
        call = ", ".join([f"{f.name}.apply", *(a.name for a in f.arguments)])
        lines += [f"    verdict = gradverify.check({call})", "    assert verdict, verdict"]
        parts.append("\n".join(lines) + "\n")
    return "\n\n".join(parts)
