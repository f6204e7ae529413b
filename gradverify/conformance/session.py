"""A session: a framework driven through the dialect that laws are written in, and what was done, as its own code.

The dialect is PyTorch's, because that is the one that most readers know: `t.tensor(…, requires_grad=True)`, `y.backward()`,
`x.grad`, `with t.no_grad():`. An engine that spells something otherwise says so in its table (see `engines`). Whatever a law
does becomes a piece of text in the framework's spelling, and it is this text that is executed; so the script that a broken
law prints is what ran, by construction.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from functools import cache
from types import CodeType, FunctionType
from typing import Any

import numpy as np

from .engines import Engine
from .script import INDENT, PLACE, Entry, lines

ATTRIBUTES = frozenset(
    {
        "grad",
        "requires_grad",
        "is_leaf",
        "grad_fn",
        "data",
        "T",
        "_version",
        "retains_grad",
        "shape",
        "append",
        "saved_tensors",
    }
)
"""Names that a variable has as attributes; all others are methods."""


class Broken(Exception):
    """A law does not hold. `expected` and `got` in words or values; `script` reproduces it in the framework's own code."""

    def __init__(self, expected: Any, got: Any, script: Sequence[str]) -> None:
        self.expected, self.got, self.script = expected, got, tuple(script)
        super().__init__(f"expected {expected}, got {got}")


class Lacks(Exception):
    """The engine has no spelling for this."""


class Var:
    """A value of the framework, within a session. Operators, methods and attributes are carried out and written down."""

    __slots__ = ("_id", "_session", "_value")

    def __init__(self, session: Session, number: int, value: Any) -> None:
        object.__setattr__(self, "_session", session)
        object.__setattr__(self, "_id", number)
        object.__setattr__(self, "_value", value)

    def __getattr__(self, name: str) -> Any:
        if name in ATTRIBUTES:
            return self._session.attribute(self, name)
        return lambda *args, **kwargs: self._session.method(name, self, *args, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        self._session.do(f"{{0}}.{name} = {{1}}", self, value, statement=True)

    def __getitem__(self, index: Any) -> Var:
        return self._session.do(f"{{0}}[{_index(index)}]", self)

    def __setitem__(self, index: Any, value: Any) -> None:
        self._session.do(f"{{0}}[{_index(index)}] = {{1}}", self, value, statement=True)

    def __delattr__(self, name: str) -> None:
        self._session.do(f"del {{0}}.{name}", self, statement=True)

    def __add__(self, other: Any) -> Var:
        return self._session.do("{0} + {1}", self, other)

    def __radd__(self, other: Any) -> Var:
        return self._session.do("{0} + {1}", other, self)

    def __sub__(self, other: Any) -> Var:
        return self._session.do("{0} - {1}", self, other)

    def __mul__(self, other: Any) -> Var:
        return self._session.do("{0} * {1}", self, other)

    def __rmul__(self, other: Any) -> Var:
        return self._session.do("{0} * {1}", other, self)

    def __matmul__(self, other: Any) -> Var:
        return self._session.do("{0} @ {1}", self, other)

    def __pow__(self, k: Any) -> Var:
        return self._session.do("{0} ** {1}", self, k)

    def __neg__(self) -> Var:
        return self._session.do("-{0}", self)

    def __enter__(self) -> Var:
        session = self._session
        session.entries.append(Entry("{0}", (self._id,), opens=True))
        self._value.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._session.entries.append(Entry("", closes=True))
        self._value.__exit__(*exc)


def _index(index: Any) -> str:
    if isinstance(index, tuple):
        return ", ".join(map(_index, index))
    if isinstance(index, slice):
        return ":".join("" if k is None else str(k) for k in (index.start, index.stop))
    return repr(index)


class Session:
    """One run on one engine. `t.name(…)` is a function of the framework's module, in the dialect's names."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.env: dict[str, Any] = dict(engine.environment())
        self.entries: list[Entry] = []
        self._numbers = itertools.count()

    def has(self, capability: str) -> bool:
        return capability in self.engine.has

    # ---- doing -----------------------------------------------------------------------------------------------------

    def do(self, text: str, *args: Any, statement: bool = False) -> Var:
        """Carry out `text`, with {0}, {1}, … for `args`: variables, lists of them, or literals."""
        text, variables = _placed(text, args)
        run = FunctionType(_compiled(text, len(variables), statement), self.env)
        out = Var(self, next(self._numbers), None)
        self.entries.append(Entry(text, tuple(v._id for v in variables), None if statement else out._id))
        object.__setattr__(out, "_value", run(*[v._value for v in variables]))
        return out

    def method(self, name: str, x: Var, *args: Any, **kwargs: Any) -> Var:
        spelled = self.engine.spell.get(name)
        if spelled is None:
            if self.engine.closed:
                raise Lacks(name)
            return self.do(f"{{0}}.{name}({_signature(args, kwargs, 1)})", x, *args, *kwargs.values())
        return self.do(_without(spelled, len(args) + 1), x, *args)

    def attribute(self, x: Var, name: str) -> Var:
        return self.do(self.engine.spell.get(f".{name}", f"{{0}}.{name}"), x)

    def tensor(self, value: Any, requires_grad: bool = False) -> Var:
        """A leaf. Where an engine has no flags, every leaf takes part."""
        spelled = self.engine.spell.get(
            "scalar" if isinstance(value, float) else "tensor", self.engine.spell.get("tensor")
        )
        if spelled is not None:
            return self.do(spelled, value)
        flag = ", requires_grad=True" if requires_grad else ""
        return self.do(f"{self.engine.module}.tensor({{0}}{flag})", value)

    def __getattr__(self, name: str) -> Callable[..., Var]:
        def function(*args: Any, **kwargs: Any) -> Var:
            spelled = self.engine.spell.get(name)
            if spelled is None:
                if self.engine.closed:
                    raise Lacks(name)
                spelled = f"{self.engine.module}.{name}({_signature(args, kwargs, 0)})"
                return self.do(spelled, *args, *kwargs.values())
            return self.do(_without(spelled, len(args)), *args)

        return function

    def grad(self, outputs: Any, inputs: Any, *more: Any, **kwargs: Any) -> list[Var]:
        """`torch.autograd.grad`, as a list of variables."""
        n = len(inputs)
        found = self.do(
            f"{self.engine.module}.autograd.grad({_signature((outputs, inputs, *more), kwargs, 0)})",
            outputs, inputs, *more, *kwargs.values(),
        )  # fmt: skip
        return [found[k] for k in range(n)]

    def define(self, text: str) -> Var:
        """Execute a definition (`seen = []`, a class); the variable stands for its name."""
        exec(text, self.env)
        self.entries.append(Entry(text, verbatim=True))
        name = re.match(r"(?:class |def )?(\w+)(?: =|[(:])", text)
        out = Var(self, next(self._numbers), self.env.get(name.group(1)) if name else None)
        if name:
            self.entries.append(Entry(name.group(1), (), out._id))
        return out

    def code(self, text: str) -> Var:
        """An expression in Python, as it stands: `lambda g: g * 2`."""
        return self.do(text)

    def forget(self, x: Var) -> None:
        """Drop the session's own hold on a value, as `del` does."""
        object.__setattr__(x, "_value", None)

    def restore(self) -> None:
        """Restore the process: recording is on."""
        if self.has("modes"):
            self.env[self.engine.module].set_grad_enabled(True)

    # ---- functions: what every engine can do, with a tape or without -----------------------------------------------

    def gradient(self, f: Callable[..., Var], *values: Any, cotangent: Any = None) -> list[Var]:
        """The gradients of `f` at `values`; where its result is no scalar, of its inner product with `cotangent`."""
        if self.has("tape"):
            leaves = [self.tensor(v, requires_grad=True) for v in values]
            out = f(*leaves)
            if cotangent is None:
                out.backward()
            else:
                out.backward(self.tensor(cotangent))
            return [x.grad for x in leaves]
        made, xs = self.function(f, *values)
        places = ", ".join(f"{{{k + 1}}}" for k in range(len(xs)))
        numbers = ", ".join(str(k) for k in range(len(xs)))
        text = self.engine.spell["vjp"].replace("XS", places).replace("NS", numbers)
        text = text.replace("G", f"{{{len(xs) + 1}}}")
        found = self.do(text, made, *xs, self.tensor(1.0 if cotangent is None else cotangent))
        return [found[k] for k in range(len(xs))]

    def jvp(self, f: Callable[..., Var], value: Any, tangent: Any) -> Var:
        """The derivative of `f` at `value` along `tangent`, by the engine's forward mode."""
        made, (x,) = self.function(f, value)
        return self.do(self.engine.spell["jvp"], made, x, self.tensor(tangent))

    def hessian_times(self, f: Callable[..., Var], value: Any, vector: Any) -> Var:
        """The Hessian of the scalar `f` at `value`, times `vector`: a derivative of a derivative."""
        if self.has("create_graph"):
            x = self.tensor(value, requires_grad=True)
            (g,) = self.grad(f(x), [x], create_graph=True)
            return self.grad((g * self.tensor(vector)).sum(), [x])[0]
        made, (x,) = self.function(f, value)
        return self.do(self.engine.spell["hvp"], made, x, self.tensor(vector))

    def function(self, f: Callable[..., Var], *values: Any) -> tuple[Var, list[Var]]:
        """`f` written down as a function of the framework's code, and its arguments.

        What is differentiated is the function that the written text defines.
        """
        xs = [self.tensor(v) for v in values]
        outside, self.entries = self.entries, []
        names = list("xyzw")[: len(xs)]
        inner = [Var(self, next(self._numbers), x._value) for x in xs]
        out = f(*inner)
        body = lines(self.entries, [(v._id, n) for v, n in zip(inner, names)], out._id)
        self.entries = outside
        if len(body) == 1:
            text = f"f = lambda {', '.join(names)}: {body[0].removeprefix('return ')}"
        else:
            text = "\n".join([f"def f({', '.join(names)}):", *(INDENT + line for line in body)])
        return self.define(text), xs

    # ---- checking --------------------------------------------------------------------------------------------------

    def equal(self, got: Var, expected: Any) -> None:
        """Raises Broken unless the value of `got` is `expected`, exactly: a number, nested lists, None, a bool, a variable.

        Laws work with small integers, on which no engine may round; that is why there is no tolerance.
        """
        if isinstance(expected, Var):
            seen, want = self.read(got), self.read(expected)
            if not _same(seen, want):
                show = self.engine.show
                text = f"assert {show.replace('{0}', '{0}')} == {show.replace('{0}', '{1}')}"
                self._broken(want, seen, text, got, expected)
            return
        seen = self.read(got)
        if _same(seen, expected):
            return
        if expected is None or isinstance(expected, bool):
            self._broken(expected, seen, f"assert {{0}} is {expected}", got)
        show = self.engine.show if isinstance(seen, list | float) and not _plain(got._value) else "{0}"
        self._broken(expected, seen, f"assert {show} == {expected!r}", got)

    def check(self, text: str, *args: Any) -> None:
        """Raises Broken unless the expression is true."""
        if not self.do(text, *args)._value:
            self.entries.pop()
            self._broken("True", "False", f"assert {text}", *args)

    def raises(self, action: Callable[[], Any], error: str = "RuntimeError") -> None:
        """Raises Broken unless `action` raises `error` (its name in the framework's errors, or Exception)."""
        error = self.engine.errors.get(error, error)
        wanted = eval(error, self.env)
        before = len(self.entries)
        try:
            action()
        except wanted:
            last = self.entries[-1]
            self.entries[-1] = Entry(last.text, last.args, error=error)
            return
        except Exception as e:
            last = self.entries[-1]
            self.entries[-1] = Entry(last.text, last.args, error=error)
            raise Broken(error, f"{type(e).__name__}: {_first(e)}", self.script()) from e
        done = self.entries[-1] if len(self.entries) > before else Entry("pass")
        self.entries[-1] = Entry(done.text, done.args, error=error, missing=True)
        raise Broken(error, "no error", self.script())

    def read(self, x: Any) -> Any:
        return self.engine.read(x._value if isinstance(x, Var) else x)

    def script(self, *more: Entry) -> list[str]:
        """The session so far, as a script."""
        return [*self.engine.setup, *lines([*self.entries, *more])]

    def _broken(self, expected: Any, got: Any, text: str, *args: Any) -> None:
        text, variables = _placed(text, args)
        script = self.script(Entry(text, tuple(v._id for v in variables)))
        short = str(got).replace("\n", " ")
        script[-1] += f"  # got {short if len(short) < 60 else short[:57] + '...'}"
        raise Broken(expected, got, script)


def _without(spelled: str, given: int) -> str:
    """An engine's spelling, without the places of arguments that were not given."""
    return PLACE.sub(lambda m: m.group() if int(m.group(1)) < given else "", spelled)


def _signature(args: Sequence[Any], kwargs: dict[str, Any], first: int) -> str:
    places = [f"{{{first + k}}}" for k in range(len(args))]
    places += [f"{name}={{{first + len(args) + k}}}" for k, name in enumerate(kwargs)]
    return ", ".join(places)


def _placed(text: str, args: Sequence[Any]) -> tuple[str, list[Var]]:
    """`text` with literals put in, and its places numbered after the variables that are left."""
    variables: list[Var] = []

    def put(a: Any) -> str:
        if isinstance(a, Var):
            if a not in variables:
                variables.append(a)
            return f"\0{variables.index(a)}\1"
        if isinstance(a, list) and any(isinstance(b, Var) for b in a):
            return "[" + ", ".join(map(put, a)) + "]"
        return repr(a)

    for k, a in enumerate(args):
        if f"{{{k}}}" in text:
            text = text.replace(f"{{{k}}}", put(a))
    return text.replace("\0", "{").replace("\1", "}"), variables


@cache
def _compiled(text: str, n: int, statement: bool) -> CodeType:
    """The code of a function of the variables; its globals are whatever session runs it."""
    names = [f"_{k}" for k in range(n)]
    body = PLACE.sub(lambda m: names[int(m.group(1))], text)
    source = f"def _f({', '.join(names)}): " + (body if statement else f"return {body}")
    made = next(c for c in compile(source, "<law>", "exec").co_consts if isinstance(c, CodeType))
    return made


def _plain(x: Any) -> bool:
    return isinstance(x, int | float | bool | list | tuple | str) or x is None


def _same(got: Any, expected: Any) -> bool:
    if got is None or expected is None or isinstance(expected, bool | str):
        return got is expected or (got is not None and expected is not None and got == expected)
    try:
        return bool(np.array_equal(np.asarray(got), np.asarray(expected)))
    except (TypeError, ValueError):
        return False


def _first(e: BaseException) -> str:
    return str(e).strip().partition("\n")[0]
