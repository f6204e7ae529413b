"""Programs that stand for a function's own calls within one check: traced and compiled once for each shape.

Eagerly, JAX runs the function's Python code at every call, and compiles every loop in it anew. A program is traced once for
a function, its shapes and dtypes; it is compiled once for all traces that come out the same, in whatever check. A function
that cannot be traced without values (`if x > 0`) is called as it is.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import JUDGED
from ...core.limits import add_time, count_apart

_EXECUTABLES: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
"""What XLA compiled last, by the program and its signature. It is most of the time of a check, and a function is checked at
several points."""

EXECUTABLES = 128

CACHED = 400
"""So many compilations of our asking are left in JAX's own caches. A program of XLA for a CPU takes 1 to 5 MB, and JAX keeps
2,048 for each of its caches: a suite of some hundred checks took 11 GB."""

LOOPS = ("while", "scan", "cond", "pallas_call", "custom_linear_solve")
"""Primitives with a jaxpr of their own, for which an eager call compiles anew: the jaxpr is another object each time."""


COMPILING = ("/jax/core/compile/backend_compile_duration", "/jax/core/compile/jaxpr_to_mlir_module_duration")
"""The events of `jax.monitoring` by which JAX tells how long it has compiled."""


@cache
def count_compiling_apart() -> None:
    """Let no time limit count what JAX compiles: that a loop takes XLA a minute is no hang of its author's."""
    import jax
    from jax import monitoring

    folder = Path(jax.__file__).parent / "_src"
    count_apart(str(folder / "compiler.py"), str(folder / "interpreters" / "mlir.py"))

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event in COMPILING:
            add_time(duration_secs)
        _compiled.count += event == COMPILING[0]

    monitoring.register_event_duration_secs_listener(listen)


@dataclass
class _Compiled:
    """Programs that XLA has compiled: all of this process, and ours that may still be in JAX's caches."""

    count: int = 0
    ours: int = 0


_compiled = _Compiled()


@contextmanager
def caches_bounded() -> Iterator[None]:
    """Count what JAX compiles within the block. After more than CACHED programs of such blocks, empty JAX's caches.

    What the user has jitted is compiled anew then.
    """
    import jax

    count_compiling_apart()
    before = _compiled.count
    try:
        yield
    finally:
        _compiled.ours += _compiled.count - before
        if _compiled.ours > CACHED:
            _compiled.ours = 0
            jax.clear_caches()


class NoProgram(Exception):
    """There is no program: the function is called as it is."""


@dataclass(eq=False)
class Held:
    """The programs of one function object, which is kept alive: its `id` is nobody else's meanwhile."""

    function: Any
    compiled: dict[Any, Callable[..., Any]] = field(default_factory=dict)
    refused: bool = False


@dataclass(eq=False)
class Pullback:
    """The last pullback of a function without a program: other cotangents at its point need no forward pass.

    `given` are the function and the arrays of the point, by identity; `wrt` what it is differentiated by.
    """

    given: tuple[Any, ...]
    wrt: list[int]
    result: tuple[Any, Callable[..., Any]]

    def is_of(self, given: tuple[Any, ...], wrt: list[int]) -> bool:
        same = len(given) == len(self.given) and all(a is b for a, b in zip(given, self.given))
        return same and wrt == self.wrt


@dataclass(eq=False)
class Store:
    """The programs of one check.

    sparing  compile nothing but what an eager call would compile anew, too: functions with loops
    refused  the function of the check cannot be traced without values
    """

    sparing: bool = False
    refused: bool = False
    held: dict[int, Held] = field(default_factory=dict)
    pullback: Pullback | None = None

    def of(self, function: Any) -> Held:
        found = self.held.get(id(function))
        if found is None:
            found = self.held[id(function)] = Held(function)
        return found

    def run(self, function: Any, kind: str, make: Callable[..., Any], arrays: Sequence[Any], static: Any) -> Any:
        """`make(static)(*arrays)`, a pull or push of `function`, by its program. Raises NoProgram.

        What raises while it is traced is asked of the function itself, whose answer counts.
        """
        import jax

        held = self.of(function)
        if self.refused or held.refused:
            raise NoProgram
        leaves = jax.tree_util.tree_leaves(arrays)
        signature = tuple((x.shape, x.dtype.name) for x in leaves)
        key = (kind, static, signature, bool(jax.config.jax_enable_x64))  # type: ignore[attr-defined]
        program = held.compiled.get(key)
        if program is None:
            try:
                program = compiled(make(static), arrays, self.sparing)
            except NoProgram:
                self.refused = held.refused = True
                raise
            except JUDGED as e:
                # The first function is that of the given point: what comes later may refuse another shape, as it may.
                held.refused = True
                self.refused |= len(self.held) == 1
                raise NoProgram from e
            held.compiled[key] = program
        return program(*arrays)


def compiled(function: Callable[..., Any], arrays: Sequence[Any], sparing: bool = False) -> Callable[..., Any]:
    """The program of `function` over `arrays`; what XLA compiled before serves again, where it was the same program.

    `sparing` compiles a function with loops alone, and raises NoProgram for another one.
    """
    import jax

    # With arguments that it does not use: what is left out is not in the program.
    staged = jax.jit(function, keep_unused=True).trace(*arrays)
    wanted = not sparing or any(e.primitive.name in LOOPS for e in equations(staged.jaxpr.jaxpr))
    try:
        digest = program_key(staged.jaxpr)
    except Unkeyed as e:  # by the address of a function of Python, which another one may get
        if not wanted:
            raise NoProgram from e
        return staged.lower().compile()
    devices = tuple(str(x.device) for x in jax.tree_util.tree_leaves(arrays))
    trees = str(jax.tree_util.tree_structure(arrays)), str(staged.out_info)
    key = digest, trees, devices, bool(jax.config.jax_enable_x64)  # type: ignore[attr-defined]
    if key not in _EXECUTABLES:
        if not wanted:
            raise NoProgram
        _EXECUTABLES[key] = staged.lower().compile()
        while len(_EXECUTABLES) > EXECUTABLES:
            _EXECUTABLES.popitem(last=False)
    _EXECUTABLES.move_to_end(key)
    return _EXECUTABLES[key]


def equations(jaxpr: Any) -> Iterator[Any]:
    """The equations of a jaxpr, and of those within."""
    for eqn in jaxpr.eqns:
        yield eqn
        for value in eqn.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from equations(inner)


# ---- what makes two programs the same ----------------------------------------------------------------------------------


class Unkeyed(Exception):
    """Something in a program has no text that says all of it."""


def program_key(closed: Any) -> bytes:
    """A digest of a closed jaxpr, with its constants to the last bit. Raises Unkeyed.

    It is cheaper than the StableHLO by the lowering, which takes three times as long as the trace.
    """
    if closed.effects:
        raise Unkeyed
    text = _Text()
    text.closed(closed)
    return text.digest.digest()


class _Text:
    """A jaxpr as bytes, with its variables by number."""

    def __init__(self) -> None:
        self.digest = hashlib.blake2b(digest_size=32)
        self.numbers: dict[int, int] = {}

    def say(self, *words: object) -> None:
        self.digest.update(("\x1f".join(map(str, words)) + "\x1e").encode())

    def closed(self, closed: Any) -> None:
        self.jaxpr(closed.jaxpr)
        for const in closed.consts:
            self.array(const)

    def array(self, x: Any) -> None:
        if not hasattr(x, "dtype") or x.dtype.kind not in "biufcV" or not hasattr(x, "shape"):
            raise Unkeyed
        if type(x).__module__.startswith("jax") and "key<" in str(x.dtype):
            raise Unkeyed
        plain = np.asarray(x)
        self.say("array", plain.dtype, plain.shape, getattr(x, "weak_type", False))
        self.digest.update(np.ascontiguousarray(plain).tobytes())

    def variables(self, found: Sequence[Any]) -> None:
        for v in found:
            if hasattr(v, "val"):
                self.say("literal", v.aval.str_short(), getattr(v.aval, "weak_type", False))
                self.array(np.asarray(v.val))
            else:
                number = self.numbers.setdefault(id(v), len(self.numbers))
                self.say(number, v.aval.str_short(), getattr(v.aval, "weak_type", False))

    def jaxpr(self, jaxpr: Any) -> None:
        outer, self.numbers = self.numbers, {}
        self.say("jaxpr", len(jaxpr.constvars), len(jaxpr.invars), len(jaxpr.eqns))
        self.variables((*jaxpr.constvars, *jaxpr.invars))
        for eqn in jaxpr.eqns:
            self.say(eqn.primitive.name)
            if "callback" in eqn.primitive.name:
                raise Unkeyed
            self.variables(eqn.invars)
            self.variables(eqn.outvars)
            ruled = eqn.primitive.name.startswith(("custom_jvp", "custom_vjp"))
            for name in sorted(eqn.params):
                if ruled and name not in ("call_jaxpr", "num_consts"):
                    continue  # its rule: nothing differentiates the program any more
                self.say(name)
                self.param(eqn.params[name])
        self.variables(jaxpr.outvars)
        self.numbers = outer

    def param(self, x: Any) -> None:
        if hasattr(x, "jaxpr") and hasattr(x, "consts"):
            self.closed(x)
        elif hasattr(x, "eqns"):
            self.jaxpr(x)
        elif isinstance(x, np.ndarray) or type(x).__name__ == "ArrayImpl":
            self.array(x)
        elif isinstance(x, tuple | list):
            self.say(type(x).__qualname__, len(x))
            for one in x:
                self.param(one)
        elif isinstance(x, dict):
            self.say("dict", len(x))
            for name in x:
                self.param((name, x[name]))
        elif isinstance(x, float | complex | np.generic):
            self.array(np.asarray(x))
        elif x is None or isinstance(x, bool | int | str | bytes):
            self.say(type(x).__qualname__, repr(x))
        elif type(x).__name__ in ("Mesh", "AbstractMesh"):
            if not x.empty:  # its text does not name the devices
                raise Unkeyed
            self.say(type(x).__qualname__)
        else:
            said = repr(x)  # dimension numbers, dtypes, precisions, …
            if " at 0x" in said or type(x).__name__.endswith("Sharding") or (callable(x) and not isinstance(x, type)):
                raise Unkeyed
            self.say(type(x).__module__, type(x).__qualname__, said)
