"""How kernels may be run: which configuration an autotuned one takes, and which program instance comes first.

A GPU takes the configuration that was fastest there, after it has run each of them on the arguments of the first call; and
its program instances in any order. Each of these ways owes the same gradient: `other_runs` names them, as blocks.

Under the interpreter the first configuration is taken, and the instances are run in order. The tuners' own caches stay as
they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from triton.runtime import autotuner
from triton.runtime import interpreter as ti

from ...trace.value import Launches, OtherRun

Configurations = tuple[str, ...]


@dataclass(frozen=True)
class _Manner:
    """How kernels are run now.

    index    of the configuration that autotuned kernels take, modulo the number that they have
    tuning   does each call of an autotuned kernel run all configurations before?
    reverse  are the last program instances run first?
    caches   tuner -> its choices, by what it calls its key
    """

    index: int = 0
    tuning: bool = False
    reverse: bool = False
    caches: WeakKeyDictionary[Any, dict[Any, Any]] = field(default_factory=WeakKeyDictionary)


_manner = _Manner()
_configurations: WeakKeyDictionary[Any, Configurations] = WeakKeyDictionary()


@contextlib.contextmanager
def _changed(**changes: Any) -> Iterator[None]:
    """Within the block, kernels are run otherwise."""
    global _manner
    before, _manner = _manner, replace(_manner, caches=WeakKeyDictionary(), **changes)
    try:
        yield
    finally:
        _manner = before


def other_runs(launches: Launches) -> list[OtherRun]:
    """Each other configuration of the autotuned kernels, the call that tunes them, and the reverse order of instances."""
    tuned = launches.autotuned
    found = []
    for k in range(1, max(map(len, tuned.values()), default=1)):
        label = " and ".join(f"{name} in {c[k % len(c)]}" for name, c in tuned.items() if k < len(c))
        found.append(OtherRun(label, partial(_changed, index=k), anew=True))
    if tuned:
        names = " and ".join(tuned)
        found.append(OtherRun(f"the call that tunes {names}", partial(_changed, tuning=True)))
    if launches.instances > 1 and not launches.waits:
        found.append(OtherRun("program instances from the last to the first", partial(_changed, reverse=True)))
    return found


def configurations_of(tuner: Any) -> Configurations:
    """The configurations that a tuner has chosen from; only one where they differ in nothing that is interpreted."""
    return _configurations.get(tuner, ())


def patch_runs(patches: Any) -> None:
    patches.wrap(autotuner.Autotuner, "prune_configs", _pruning)
    patches.wrap(autotuner.Autotuner, "_bench", _timing)
    patches.wrap(autotuner.Autotuner, "run", _tuned)
    patches.wrap(ti.InterpreterBuilder, "set_grid_idx", _ordered)


def _distinct(configs: Any) -> dict[str, Any]:
    """Configurations by their texts, without those that differ in warps and stages alone."""
    found: dict[str, Any] = {}
    for c in configs:
        text = ", ".join(f"{k}={v}" for k, v in c.kwargs.items()) or "its configuration"
        found.setdefault(text, c)
    return found


def _pruning(old: Any) -> Any:
    def prune(self: Any, kwargs: Mapping[str, Any]) -> Any:
        found = _distinct(old(self, kwargs))
        _configurations[self] = tuple(found)
        configs = list(found.values())
        return configs if _manner.tuning else [configs[_manner.index % len(configs)]]

    return prune


def _timing(old: Any) -> Any:
    """Instead of times: where kernels are tuned, each configuration is run once, with the tuner's hooks around it."""

    def bench(self: Any, *args: Any, config: Any, **meta: Any) -> list[float]:
        if _manner.tuning:

            def once(call: Callable[[], Any], quantiles: Any = None) -> list[float]:
                call()
                return [0.0, 0.0, 0.0]

            own = self.__dict__.get("do_bench")
            self.__dict__["do_bench"] = once
            try:
                old(self, *args, config=config, **meta)
            finally:
                if own is None:
                    del self.__dict__["do_bench"]
                else:
                    self.__dict__["do_bench"] = own
        return [0.0, 0.0, 0.0]

    return bench


def _tuned(old: Any) -> Any:
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = self.cache
        self.cache = {} if _manner.tuning else _manner.caches.setdefault(self, {})
        try:
            return old(self, *args, **kwargs)
        finally:
            self.cache = before

    return run


def _ordered(old: Any) -> Any:
    def set_grid_idx(self: Any, x: int, y: int, z: int) -> None:
        if _manner.reverse:
            x, y, z = (n - 1 - i for n, i in zip(self.grid_dim, (x, y, z)))
        old(self, x, y, z)

    return set_grid_idx
