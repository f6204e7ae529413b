"""What the text of a file says of its kernels: `@triton.jit` functions, the Functions that launch them, their parameters."""

from __future__ import annotations

import ast
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

TENSOR = frozenset(
    "shape stride contiguous dtype device numel data_ptr view reshape is_contiguous ndim size dim element_size T to "
    "new_empty new_zeros is_cuda transpose flatten unsqueeze".split()
)
"""Attributes that tell a tensor."""

INTEGER = ("target", "label", "ids", "index", "indices", "seqlen", "tokens", "mask_id")
"""Parts of the names of tensors that hold integers."""

LITERALS = {"int": "1", "float": "1.0", "bool": "False", "str": '""'}

USUAL = {
    "eps": "1e-6", "epsilon": "1e-6", "scale": "1.0", "sm_scale": "1.0", "softmax_scale": "1.0", "causal": "True",
    "is_causal": "True", "ignore_index": "-100", "label_smoothing": "0.0", "reduction": "'mean'", "p": "0.5",
    "dropout_p": "0.0", "inplace": "False", "in_place": "False", "offset": "0.0",
}  # fmt: skip
"""What parameters of these names are, where nothing else tells."""


@dataclass
class Argument:
    """A parameter of a Function's forward pass.

    kind      "tensor", "integers" (a tensor of them), "literal", or "" where nothing tells
    axes      how many the text says it has; None where it does not
    text      of a literal: the value that it is given
    guessed   is `text` a guess by the parameter's name?
    optional  does the text compare it with None?
    """

    name: str
    kind: str = ""
    axes: int | None = None
    text: str = ""
    guessed: bool = False
    optional: bool = False


@dataclass
class Drafted:
    """A Function, its kernels, and the call that was found for it.

    forward, backward  kernels that the text names; those that were launched, once a call ran
    values   the text of each argument, in order; None where no call was found
    importable  has its module an attribute of its name?
    once     is its backward pass marked as one that is differentiated once?
    notes    what is to be looked at in a call that was found
    unknown  what could not be worked out
    """

    name: str
    line: int
    forward: tuple[str, ...]
    backward: tuple[str, ...]
    arguments: list[Argument]
    values: tuple[str, ...] | None = None
    importable: bool = True
    once: bool = False
    notes: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


@dataclass
class Kernels:
    """What a file has: kernel -> line, its Functions, and what kernels call: `alone` are kernels that nothing launches."""

    kernels: dict[str, int]
    functions: list[Drafted]
    inner: frozenset[str] = frozenset()

    @property
    def alone(self) -> tuple[str, ...]:
        used = {k for f in self.functions for k in (*f.forward, *f.backward)} | self.inner
        return tuple(k for k in self.kernels if k not in used)


def module_of(path: Path, folders: Sequence[Path]) -> tuple[Path, str]:
    """The folder that a file is imported from, and its name there: `mypkg.ops.norm` where packages are around it.

    Where the outermost package's name is another's, the name is that below one of `folders`, where the file lies in one.
    """
    path = path.resolve()
    parts = [] if path.stem == "__init__" else [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    taken = sys.modules.get(parts[0])
    if (
        taken is not None
        and path not in _files_of(taken)
        and not any(path.is_relative_to(f) for f in _folders_of(taken))
    ):
        for other in folders:
            if path.is_relative_to(other) and other != folder:
                below = path.relative_to(other).with_suffix("").parts
                if all(part.isidentifier() for part in below):
                    return other, ".".join(below)
    return folder, ".".join(parts)


def _files_of(module: ModuleType) -> set[Path]:
    file = getattr(module, "__file__", None)
    return {Path(file).resolve()} if file else set()


def _folders_of(module: ModuleType) -> list[Path]:
    return [Path(f).resolve() for f in getattr(module, "__path__", ())]


def read(path: Path) -> Kernels:
    """The kernels and Functions of a file, by its text alone. Raises SyntaxError."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    jit = _names_of_jit(tree)
    defined = {n.name: n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    kernels = {n: f.lineno for n, f in defined.items() if any(_called(d) in jit for d in f.decorator_list)}
    kernels |= {n: line for n, line in _made(tree, jit)}
    functions = {n: f for n, f in _outside_of_classes(tree) if n not in kernels}
    launched = _launches(kernels, functions)
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        methods = {m.name: m for m in node.body if isinstance(m, ast.FunctionDef)}
        if not {"forward", "backward"} <= methods.keys() or not any("Function" in ast.unparse(b) for b in node.bases):
            continue
        forward = methods["forward"]
        names = [a.arg for a in (*forward.args.posonlyargs, *forward.args.args)]
        names = names if "setup_context" in methods else names[1:]
        drafted = Drafted(
            node.name,
            node.lineno,
            tuple(sorted(launched(forward))),
            tuple(sorted(launched(methods["backward"]))),
            [_argument(n, forward, functions) for n in names],
        )
        _look_at_callers(drafted, functions)
        drafted.once = any("once_differentiable" in ast.unparse(d) for d in methods["backward"].decorator_list)
        if forward.args.vararg:
            drafted.unknown.append(f"*{forward.args.vararg.arg}: how many there are, and what they are")
        found.append(drafted)
    inner = {n.id for k in kernels.keys() & defined.keys() for n in ast.walk(defined[k]) if isinstance(n, ast.Name)}
    return Kernels(kernels, found, frozenset(inner & kernels.keys()))


def _names_of_jit(tree: ast.AST) -> frozenset[str]:
    """What `triton.jit` is called in the file."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {f"{a.asname or a.name}.jit" for a in node.names if a.name == "triton"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "triton":
            found |= {a.asname or a.name for a in node.names if a.name == "jit"}
    return frozenset(found)


def _called(node: ast.AST) -> str:
    """The text of a decorator, or of what is called, without its arguments."""
    return ast.unparse(node.func if isinstance(node, ast.Call) else node)


def _made(tree: ast.AST, jit: frozenset[str]) -> Iterator[tuple[str, int]]:
    """Kernels that are no decorated functions: `kernel = triton.jit(f)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _called(node.value) in jit:
            yield from ((t.id, node.lineno) for t in node.targets if isinstance(t, ast.Name))


def _outside_of_classes(node: ast.AST) -> Iterator[tuple[str, ast.FunctionDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef):
            yield child.name, child
        elif not isinstance(child, ast.ClassDef):
            yield from _outside_of_classes(child)


def _launches(kernels: Mapping[str, int], functions: Mapping[str, ast.FunctionDef]) -> Callable[..., set[str]]:
    """Kernels that a function names, or a function of the file that it calls."""

    def launched(f: ast.AST, seen: frozenset[str] = frozenset()) -> set[str]:
        names = {n.id for n in ast.walk(f) if isinstance(n, ast.Name)}
        inner = (launched(functions[n], seen | {n}) for n in names & functions.keys() - seen)
        return set(itertools.chain(names & kernels.keys(), *inner))

    return launched


def _argument(name: str, f: ast.FunctionDef, functions: Mapping[str, ast.FunctionDef], depth: int = 3) -> Argument:
    """What a function's text says of one of its parameters."""
    out = Argument(name)
    arguments = [*f.args.posonlyargs, *f.args.args]
    defaults = dict(zip([a.arg for a in arguments][len(arguments) - len(f.args.defaults) :], f.args.defaults))
    defaults |= {a.arg: d for a, d in zip(f.args.kwonlyargs, f.args.kw_defaults) if d is not None}
    arguments += f.args.kwonlyargs
    annotation = next((ast.unparse(a.annotation) for a in arguments if a.arg == name and a.annotation), "")
    out.optional = "None" in annotation or "Optional" in annotation
    if "Tensor" in annotation:
        out.kind = "integers" if "LongTensor" in annotation or "IntTensor" in annotation else "tensor"
    elif annotation in LITERALS:
        out.kind, out.text = "literal", USUAL.get(name, LITERALS[annotation])
        out.guessed = True
    if name in defaults:
        out.text, out.guessed = ast.unparse(defaults[name]), False
        out.optional = out.optional or out.text == "None"
        out.kind = "literal" if out.text == "None" else out.kind or "literal"
    if out.kind != "literal":
        _look_for_uses(out, f, functions, depth)
    if not out.kind and name.lower() in USUAL:
        out.kind, out.text, out.guessed = "literal", USUAL[name.lower()], True
    if out.kind in ("tensor", "") and any(part in name.lower() for part in INTEGER):
        out.kind = "integers"
    return out


def _look_at_callers(found: Drafted, functions: Mapping[str, ast.FunctionDef]) -> None:
    """Set what the file's calls of a Function's `apply` tell of parameters of which its forward pass says nothing."""
    for f in functions.values():
        parameters = {a.arg for a in (*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs)}
        for node in ast.walk(f):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func) == f"{found.name}.apply"):
                continue
            for a, given in zip(found.arguments, node.args):
                if a.kind:
                    continue
                if isinstance(given, ast.Constant):
                    a.kind, a.text, a.guessed = "literal", ast.unparse(given), True
                elif isinstance(given, ast.Name) and given.id in parameters:
                    there = _argument(given.id, f, functions)
                    a.kind, a.text, a.guessed, a.optional = there.kind, there.text, bool(there.kind), there.optional


def _look_for_uses(out: Argument, f: ast.FunctionDef, functions: Mapping[str, ast.FunctionDef], depth: int) -> None:
    """Set what the body of a function tells of the parameter `out`."""
    name = out.name
    for node in ast.walk(f):
        match node:
            case ast.Attribute(value=ast.Name(id=n), attr=attr) if n == name and attr in TENSOR:
                out.kind = "tensor"
            case ast.Call(func=ast.Attribute(attr=a), args=[ast.Name(id=n), *_]) if n == name and a.endswith("_like"):
                out.kind = "tensor"
            case ast.Compare(left=ast.Name(id=n), ops=[ast.Is() | ast.IsNot()]) if n == name:
                out.optional = True
            case ast.Compare(left=ast.Name(id=n), comparators=[ast.Constant(value=str(value))]) if n == name:
                if not out.kind:
                    out.kind, out.text, out.guessed = "literal", repr(value), True
            case ast.Assign(
                targets=[ast.Tuple(elts=axes)], value=ast.Attribute(value=ast.Name(id=n), attr="shape")
            ) if n == name and not any(isinstance(e, ast.Starred) for e in axes):
                out.axes = out.axes or len(axes)
            case ast.Call(func=ast.Name(id=g), args=given, keywords=words) if g in functions and depth:
                of = [a.arg for a in (*functions[g].args.posonlyargs, *functions[g].args.args)]
                passed = [*zip(of, given), *((w.arg, w.value) for w in words if w.arg in of)]
                for there, given_as in passed:
                    if isinstance(given_as, ast.Name) and given_as.id == name:
                        inner = _argument(str(there), functions[g], functions, depth - 1)
                        if inner.kind != "literal" or inner.text != "None":
                            out.kind, out.axes = out.kind or inner.kind, out.axes or inner.axes
                            out.text = out.text or inner.text
                            out.guessed = out.guessed or inner.guessed
