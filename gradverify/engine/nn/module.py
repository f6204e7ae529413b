"""Module: a tree of named parameters with a forward function.

The one idea: assigning a Parameter, a buffer or a Module to an attribute puts it into a table of the module; everything else
(parameters(), state_dict(), train(), to()) walks those tables.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..dtypes import DTYPES, device, dtype
from ..modes import no_grad
from ..tape import RemovableHandle
from ..tensor import Tensor
from .hooks import EVERYWHERE, GradientHooks, Hooks, hook_last_node
from .parameter import Buffer, Parameter
from .state import HasState


def _hooks_with(kind: str, option: str | None = None) -> property:
    """The module's hooks of a kind, by number, under the name that PyTorch has for them."""

    def get(self: Module) -> dict[int, Any]:
        own = self._hooks.get(kind)
        if own is None:
            return {}
        return {key: hook for key, hook in own.hooks.items() if option is None or option in own.options[key]}

    return property(get)


class Module(HasState):
    """Base of all layers and models. Subclasses call `super().__init__()` first, and define `forward`."""

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _transient: set[str]

    call_super_init = False
    """Does the constructor call that of the next class, as that of a mixin behind this one?"""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not self.call_super_init and (args or kwargs):
            what = f"keyword argument '{next(iter(kwargs))}'" if kwargs else f"{len(args) + 1} were given"
            error = f"got an unexpected {what}" if kwargs else f"takes 1 positional argument but {what}"
            raise TypeError(f"{type(self).__name__}.__init__() {error}")
        for name, value in {
            "training": True, "_parameters": {}, "_buffers": {}, "_modules": {}, "_transient": set(), "_hooks": {},
            "_state_dict_hooks": OrderedDict(), "_state_dict_pre_hooks": OrderedDict(),
            "_load_state_dict_pre_hooks": OrderedDict(), "_load_state_dict_post_hooks": OrderedDict(),
        }.items():  # fmt: skip
            object.__setattr__(self, name, value)
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    def forward(self, *input: Any) -> Any:
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._hooks and not any(EVERYWHERE.values()):
            return self.forward(*args, **kwargs)
        return self._call_with_hooks(args, kwargs)

    # ---- hooks -----------------------------------------------------------------------------------------------------

    def _call_with_hooks(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        called: set[Any] = set()
        try:
            for hook, options in self._hooks_of("forward_pre"):
                args, kwargs = self._before_forward(hook, options, args, kwargs)
            backward = [h for h, options in self._hooks_of("backward") if "old" not in options]
            pre, old = [h for h, _ in self._hooks_of("backward_pre")], self._hooks_of("backward")
            around = GradientHooks(self, backward, pre) if backward or pre else None
            if around is not None:
                args = around.around_inputs(args)
            out = self.forward(*args, **kwargs)
            for hook, options in self._hooks_of("forward"):
                called.add(hook)
                changed = hook(self, args, kwargs, out) if "with_kwargs" in options else hook(self, args, out)
                out = out if changed is None else changed
            if around is not None:
                out = around.around_outputs(out)
        except Exception:
            self._call_all_the_same(called, args, kwargs)
            raise
        hook_last_node(self, out, args, [h for h, options in old if "old" in options])
        return out

    def _hooks_of(self, kind: str) -> list[tuple[Any, frozenset[str]]]:
        """The hooks of a kind: first those of all modules, then the module's own."""
        own = self._hooks.get(kind)
        return EVERYWHERE[kind].items() + (own.items() if own is not None else [])

    def _before_forward(
        self, hook: Any, options: frozenset[str], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if "with_kwargs" not in options:
            changed = hook(self, args)
            return (args if changed is None else changed if isinstance(changed, tuple) else (changed,)), kwargs
        changed = hook(self, args, kwargs)
        if changed is None:
            return args, kwargs
        if not isinstance(changed, tuple) or len(changed) != 2:
            raise RuntimeError(
                f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {changed}."
            )
        return changed

    def _call_all_the_same(self, called: set[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """After an exception: the forward hooks that were registered with always_call."""
        for hook, options in self._hooks_of("forward"):
            if "always_call" in options and hook not in called:
                try:
                    hook(self, args, kwargs, None) if "with_kwargs" in options else hook(self, args, None)
                except Exception as error:
                    warnings.warn(
                        "module forward hook with ``always_call=True`` raised an exception that was silenced as another "
                        f"error was raised in forward: {error}",
                        stacklevel=2,
                    )

    def _register(self, kind: str, hook: Any, prepend: bool = False, **options: bool) -> RemovableHandle:
        return self._hooks.setdefault(kind, Hooks()).add(hook, prepend, **options)

    def register_forward_hook(
        self, hook: Any, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """`hook(module, args, output)` after every forward; what it returns replaces the output.

        with_kwargs  the hook takes (module, args, kwargs, output)
        always_call  it is called even if forward raises, with None for the output
        """
        return self._register("forward", hook, prepend, with_kwargs=with_kwargs, always_call=always_call)

    def register_forward_pre_hook(
        self, hook: Any, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """`hook(module, args)` before every forward; what it returns replaces the arguments.

        with_kwargs  the hook takes (module, args, kwargs) and returns (args, kwargs)
        """
        return self._register("forward_pre", hook, prepend, with_kwargs=with_kwargs)

    def register_full_backward_hook(self, hook: Any, prepend: bool = False) -> RemovableHandle:
        """`hook(module, grad_input, grad_output)` when the inputs' gradients are known; what it returns replaces them."""
        self._one_way(old=False)
        return self._register("backward", hook, prepend)

    def register_full_backward_pre_hook(self, hook: Any, prepend: bool = False) -> RemovableHandle:
        """`hook(module, grad_output)` when the gradients of the outputs are known; what it returns replaces them."""
        return self._register("backward_pre", hook, prepend)

    def register_backward_hook(self, hook: Any) -> RemovableHandle:
        """A hook of the node that made the output (PyTorch's old way: it sees the gradients of that node's inputs)."""
        self._one_way(old=True)
        return self._register("backward", hook, old=True)

    _forward_hooks = _hooks_with("forward")
    _forward_pre_hooks = _hooks_with("forward_pre")
    _backward_hooks = _hooks_with("backward")
    _backward_pre_hooks = _hooks_with("backward_pre")
    _forward_hooks_with_kwargs = _hooks_with("forward", "with_kwargs")
    _forward_hooks_always_called = _hooks_with("forward", "always_call")
    _forward_pre_hooks_with_kwargs = _hooks_with("forward_pre", "with_kwargs")

    def _one_way(self, old: bool) -> None:
        hooks = self._hooks.get("backward")
        if hooks and any(("old" in options) != old for _, options in hooks.items()):
            raise RuntimeError(
                "Cannot use both regular backward hooks and full backward hooks on a single Module. Please use only one of "
                "them."
            )

    # ---- attributes ------------------------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        tables = self.__dict__
        if "_parameters" not in tables:
            if isinstance(value, Parameter | Module):
                kind = "parameters" if isinstance(value, Parameter) else "module"
                raise AttributeError(f"cannot assign {kind} before Module.__init__() call")
            object.__setattr__(self, name, value)
            return
        if isinstance(value, Parameter):
            self._forget(name, but=self._parameters)
            self._parameters[name] = value
        elif name in self._parameters:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{_typename(value)}' as parameter '{name}' (torch.nn.Parameter or None expected)"
                )
            self._parameters[name] = None
        elif isinstance(value, Module):
            self._forget(name, but=self._modules)
            self._modules[name] = value
        elif name in self._modules:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{_typename(value)}' as child module '{name}' (torch.nn.Module or None expected)"
                )
            self._modules[name] = None
        elif isinstance(value, Buffer):
            self._forget(name, but=self._buffers)
            self._buffers[name] = value
            (self._transient.discard if value.persistent else self._transient.add)(name)
        elif name in self._buffers:
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(
                    f"cannot assign '{_typename(value)}' as buffer '{name}' (torch.Tensor or None expected)"
                )
            self._buffers[name] = value
        else:
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        for table in ("_parameters", "_buffers", "_modules"):
            found = self.__dict__.get(table, {})
            if name in found:
                return found[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __dir__(self) -> list[str]:
        tables = (self._parameters, self._buffers, self._modules)
        names = {*super().__dir__(), *(name for table in tables for name in table)}
        return sorted(name for name in names if not name[:1].isdigit())

    def __delattr__(self, name: str) -> None:
        if any(name in table for table in (self._parameters, self._buffers, self._modules)):
            self._forget(name)
        else:
            object.__delattr__(self, name)

    def _forget(self, name: str, but: Any = None) -> None:
        """Take a name out of all tables except `but`, where an assignment keeps the name's place."""
        self.__dict__.pop(name, None)
        for table in (self._parameters, self._buffers, self._modules):
            if table is not but:
                table.pop(name, None)

    def _check_name(self, kind: str, name: Any, table: Mapping[str, Any]) -> None:
        """Raises PyTorch's error for a name that cannot be an attribute, or is one already."""
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {_typename(type(name)())}")
        if hasattr(self, name) and name not in table:
            raise KeyError(f"attribute '{name}' already exists")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain "."' + (f", got: {name}" if kind == "module" else ""))
        if not name:
            raise KeyError(f'{kind} name can\'t be empty string ""')

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        if "_parameters" not in self.__dict__:
            raise AttributeError("cannot assign parameter before Module.__init__() call")
        self._check_name("parameter", name, self._parameters)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{_typename(param)}' object to parameter '{name}' (torch.nn.Parameter or None required)"
            )
        if param is not None and param.grad_fn is not None:
            raise ValueError(
                f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created explicitly. To "
                f"express '{name}' as a function of another Tensor, compute the value in the forward() method."
            )
        self._forget(name)
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """A tensor that belongs to the state but is not trained; saved in the state dict where `persistent`."""
        if "_buffers" not in self.__dict__:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        self._check_name("buffer", name, self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{_typename(tensor)}' object to buffer '{name}' (torch Tensor or None required)"
            )
        self._forget(name)
        self._buffers[name] = tensor
        (self._transient.discard if persistent else self._transient.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{_typename(module)} is not a Module subclass")
        self._check_name("module", name, self._modules)
        self._modules[name] = module

    register_module = add_module

    # ---- walking ---------------------------------------------------------------------------------------------------

    def named_modules(
        self, memo: set[int] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it, each once (unless remove_duplicate is False)."""
        memo = set() if memo is None else memo
        if id(self) in memo:
            return
        if remove_duplicate:
            memo.add(id(self))
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        return (m for _, m in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        seen: set[int] = set()
        for name, child in self._modules.items():
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                yield name, child

    def children(self) -> Iterator[Module]:
        return (m for _, m in self.named_children())

    def _named(self, table: str, prefix: str, recurse: bool, once: bool = True) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for at, module in self.named_modules(None, prefix, once) if recurse else [(prefix, self)]:
            for name, tensor in getattr(module, table).items():
                if tensor is not None and not (once and id(tensor) in seen):
                    seen.add(id(tensor))
                    yield (f"{at}.{name}" if at else name), tensor

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        return (b for _, b in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        module: Module = self
        for name in target.split(".") if target else ():
            found = module._modules.get(name)
            if found is None:
                raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
            module = found
        return module

    def _get_tensor(self, target: str, table: str, kind: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
        if name not in getattr(module, table):
            raise AttributeError(f"`{name}` is not {kind}")
        return getattr(module, name)

    def get_parameter(self, target: str) -> Parameter:
        return self._get_tensor(target, "_parameters", "an nn.Parameter")

    def get_buffer(self, target: str) -> Tensor:
        return self._get_tensor(target, "_buffers", "a buffer")

    def apply(self, fn: Callable[[Module], None]) -> Module:
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # ---- state -----------------------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Module:
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self) -> Module:
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        for p in self.parameters():
            if p._grad is not None:
                if set_to_none:
                    p._grad = None
                else:
                    p._grad = p._grad.detach()
                    p._grad.zero_()

    def _apply(self, change: Callable[[Tensor], Tensor]) -> Module:
        for module in self.modules():
            for p in module._parameters.values():
                if p is not None:
                    with no_grad():  # on the tensors themselves: what is written to them counts as a write
                        p.data = change(p)
                        if p._grad is not None:
                            changed = change(p._grad)
                            p._grad = changed if changed is p._grad else changed.requires_grad_(p._grad.requires_grad)
            for name, b in module._buffers.items():
                if b is not None:
                    module._buffers[name] = change(b)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Module:
        """Moves or converts; integer buffers keep their dtype."""

        _check_move(args, kwargs)

        def change(x: Tensor) -> Tensor:
            like = x.to(*args, **kwargs)
            return like if x.is_floating_point() or like.dtype is x.dtype else x

        return self._apply(change)

    def float(self) -> Module:
        return self._floating("float32")

    def double(self) -> Module:
        return self._floating("float64")

    def half(self) -> Module:
        return self._floating("float16")

    def _floating(self, name: str) -> Module:
        return self.to(DTYPES[name])

    def cpu(self) -> Module:
        return self.to("cpu")

    def cuda(self, device: Any = None) -> Module:
        return self.to("cuda")

    # ---- text ------------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands in the brackets of the module's line."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = [f"({name}): {_indent(repr(child))}" for name, child in self._modules.items()]
        if not lines and "\n" not in extra:
            return f"{type(self).__name__}({extra})"
        body = (extra.split("\n") if extra else []) + lines
        return f"{type(self).__name__}(\n  " + "\n  ".join(body) + "\n)"


def _check_move(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raises TypeError for anything but a device, a floating-point dtype or a tensor."""
    if "copy" in kwargs:
        raise RuntimeError(".to() does not accept copy argument")
    first, rest = (args[0], args[1:]) if args else (None, ())
    starts_with_place = isinstance(first, str | device | None) or type(first) is int
    if not starts_with_place and not isinstance(first, dtype | Tensor):
        raise TypeError("to() received an invalid combination of arguments")
    if starts_with_place and rest and not isinstance(rest[0], dtype | None):
        raise TypeError("to() received an invalid combination of arguments")
    given = [*args, kwargs.get("dtype"), kwargs.get("tensor")]
    kinds = [x.dtype if isinstance(x, Tensor) else x for x in given if isinstance(x, dtype | Tensor)]
    if any(not (k.is_floating_point or k.is_complex) for k in kinds):
        raise TypeError(f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={kinds[0]}")


def _indent(text: str) -> str:
    return text.replace("\n", "\n  ")


def _typename(value: Any) -> str:
    if isinstance(value, Tensor):
        return value.type()
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
