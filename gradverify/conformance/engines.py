"""The engines, each one table: how it spells what laws say, and what it has.

The dialect of laws is PyTorch's. A table says where an engine's own spelling differs: `{0}` is the object (or the first
argument), `{1}`, `{2}`, … are the arguments. Third parties add an `Engine` by the entry point group `gradverify.engines`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, entry_points, version
from types import MappingProxyType
from typing import Any

from ..core.errors import UnknownName, Unsupported

GROUP = "gradverify.engines"

CAPABILITIES: Mapping[str, str] = MappingProxyType(
    {
        "arrays": "arrays, not only scalars",
        "cotangent": "a gradient can be given to a root that is no scalar",
        "tape": "leaves with a .grad, filled by backward()",
        "flags": "requires_grad and is_leaf of each tensor",
        "cut": "detach (stop_gradient): a value without its history",
        "modes": "no_grad and enable_grad blocks",
        "freeing": "backward frees the graph unless retain_graph is given",
        "retain": "retain_grad on tensors that are no leaves",
        "grad": "autograd.grad, which returns gradients",
        "inputs": "backward(inputs=…), which fills only these",
        "create_graph": "gradients that can be differentiated again",
        "second": "second derivatives, by a tape or by nested transformations",
        "jvp": "forward mode, or a function that gives directional derivatives",
        "hooks": "hooks on tensors",
        "node_hooks": "hooks on nodes and on accumulation",
        "inplace": "in-place edits of tensors that are recorded",
        "versions": "version counters that guard saved tensors",
        "views": "views that share memory and history with their base",
        "function": "custom functions with their own backward",
        "optim": "optimizers under PyTorch's names",
        "gpu": "a GPU beside the CPU, in this machine",
        "numpy": "tensors over the memory of NumPy arrays (for laws about lifetime)",
    }
)


@dataclass(frozen=True, eq=False)
class Engine:
    """An engine of automatic differentiation as laws see it.

    name      as users write it
    setup     import lines, the head of every script
    module    the prefix of the module's functions: `torch`
    spell     dialect name -> the engine's spelling; ".name" for attributes; "vjp" with XS (arguments), NS (their
              numbers) and G (the cotangent) for engines without a tape
    has       what it can do: names of CAPABILITIES
    closed    whatever is not in `spell` does not exist
    show      how a script shows a value in an assertion
    errors    the law's exception -> the engine's
    install   what to install, for the message where it is missing
    package   the distribution whose version is reported
    gpu       an expression of the module that says whether there is a GPU; "" where the engine knows none
    """

    name: str
    setup: tuple[str, ...]
    module: str
    has: frozenset[str]
    spell: Mapping[str, str] = field(default_factory=dict)
    closed: bool = False
    show: str = "{0}.tolist()"
    errors: Mapping[str, str] = field(default_factory=dict)
    install: str = ""
    package: str = ""
    gpu: str = ""
    prepare: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        unknown = self.has - set(CAPABILITIES)
        assert not unknown, f"{self.name}: no such capabilities: {unknown}"

    def unavailable(self) -> str | None:
        """The reason why the engine cannot run here; None if it can."""
        for line in self.setup:
            root = line.split()[1].split(".")[0]
            if importlib.util.find_spec(root) is None:
                return f"{self.name} is not installed: pip install {self.install or self.name}"
        return None

    def sees_gpu(self) -> bool:
        return bool(self.gpu) and bool(eval(self.gpu, self.environment()))

    def environment(self) -> dict[str, Any]:
        """The names that scripts see after their import lines. Raises Unsupported where it is not installed."""
        return dict(_imported(self))

    def release(self) -> str:
        """The version that runs."""
        try:
            return version(self.package or self.name)
        except PackageNotFoundError:
            return "?"

    def read(self, x: Any) -> Any:
        """A value as plain Python: numbers, nested lists, bools, None."""
        if x is None or isinstance(x, bool | int | float | str):
            return x
        if isinstance(x, list | tuple):
            return [self.read(y) for y in x]
        if hasattr(x, "tolist"):
            return x.tolist()
        return x.data if hasattr(x, "data") else x


@cache
def _imported(engine: Engine) -> dict[str, Any]:
    why = engine.unavailable()
    if why is not None:
        raise Unsupported(why)
    if engine.prepare is not None:
        engine.prepare()
    env: dict[str, Any] = {}
    exec("\n".join(engine.setup), env)
    return env


TORCH_HAS = frozenset(CAPABILITIES) - {"gpu"}  # which depends on the machine

# A scalar function's JVP in PyTorch's functional form; the engine has the same name for it.
TORCH_SPELL = {"jvp": "torch.func.jvp({0}, ({1},), ({2},))[1]"}


def like_torch(name: str, setup: str, package: str, **more: Any) -> Engine:
    """An engine that speaks the dialect: PyTorch itself, ours, and copies of ours with one rule broken."""
    return Engine(name, (setup,), "torch", TORCH_HAS, TORCH_SPELL, package=package, **more)


def _tinygrad_device() -> None:
    # Its CPU device needs a compiler; the one in pure Python runs everywhere.
    os.environ.setdefault("DEV", "PYTHON")


_ARRAYS = {"arrays", "cotangent", "second"}

ENGINES: Mapping[str, Engine] = MappingProxyType(
    {
        e.name: e
        for e in (
            like_torch("engine", "import gradverify.engine as torch", "gradverify"),
            like_torch("torch", "import torch", "torch", gpu="torch.cuda.is_available()"),
            Engine(
                "micrograd", ("from micrograd.engine import Value",), "Value", frozenset({"tape"}), closed=True, show="{0}",
                spell={"tensor": "Value({0})", "relu": "{0}.relu()", "backward": "{0}.backward()", "sum": "{0}"},
            ),
            Engine(
                "tinygrad", ("from tinygrad import Tensor",), "Tensor",
                frozenset({"tape", "arrays", "cotangent", "cut"}), closed=True, prepare=_tinygrad_device,
                spell={"tensor": "Tensor({0})", "scalar": "Tensor([{0}]).reshape(())", "sum": "{0}.sum()",
                       "relu": "{0}.relu()", "detach": "{0}.detach()", "backward": "{0}.backward({1})"},
            ),
            Engine(
                "autograd", ("import autograd.numpy as np", "import autograd"), "np", frozenset({*_ARRAYS, "jvp"}),
                closed=True,
                spell={"tensor": "np.array({0})", "sum": "np.sum({0})", "relu": "np.maximum({0}, 0.0)",
                       "vjp": "autograd.make_vjp({0}, argnum=(NS,))(XS)[0](G)",
                       "jvp": "autograd.make_jvp({0})({1})({2})[1]",
                       "hvp": "autograd.hessian_vector_product({0})({1}, {2})"},
            ),
            Engine(
                "jax", ("import jax", "import jax.numpy as jnp"), "jnp", frozenset({*_ARRAYS, "jvp", "cut"}), closed=True,
                spell={"tensor": "jnp.array({0})", "sum": "jnp.sum({0})", "relu": "jax.nn.relu({0})",
                       "detach": "jax.lax.stop_gradient({0})", "vjp": "jax.vjp({0}, XS)[1](G)",
                       "jvp": "jax.jvp({0}, ({1},), ({2},))[1]", "hvp": "jax.jvp(jax.grad({0}), ({1},), ({2},))[1]"},
            ),
            Engine(
                "mlx", ("import mlx.core as mx",), "mx", frozenset({*_ARRAYS, "jvp", "cut"}), closed=True,
                install='"mlx[cpu]"',
                spell={"tensor": "mx.array({0})", "sum": "mx.sum({0})", "relu": "mx.maximum({0}, 0.0)",
                       "detach": "mx.stop_gradient({0})", "vjp": "mx.vjp({0}, [XS], [G])[1]",
                       "jvp": "mx.jvp({0}, [{1}], [{2}])[1][0]",
                       "hvp": "mx.jvp(mx.grad({0}), [{1}], [{2}])[1][0]"},
            ),
        )
    }
)  # fmt: skip


def find(name: str) -> Engine:
    """The engine called `name`, built in or from the entry points. Raises UnknownName."""
    if name in ENGINES:
        return ENGINES[name]
    others = entry_points(group=GROUP)
    for entry in others:
        if entry.name == name:
            made = entry.load()
            assert isinstance(made, Engine), f"the entry point {name} of {GROUP} is no Engine"
            return made
    raise UnknownName("engine", name, [*ENGINES, *(e.name for e in others)])
