"""A module's state as a dict, and back: `state_dict`, `load_state_dict`, and the hooks around them.

The one idea: each module writes and reads its own part, under its prefix (`_save_to_state_dict`, `_load_from_state_dict`);
the two walks here go through the children. What does not fit is collected, and raised at the end.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..modes import no_grad
from ..tape import RemovableHandle, hook_into
from ..tensor import Tensor

EXTRA = "_extra_state"

Hook = Callable[..., Any]


class IncompatibleKeys(NamedTuple):
    """The keys that `load_state_dict` missed, and those that the module does not have."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


class HasState:
    """The part of `Module` that saves and loads."""

    if TYPE_CHECKING:
        _parameters: dict[str, Any]
        _buffers: dict[str, Any]
        _modules: dict[str, Any]
        _transient: set[str]

    _version = 1

    # ---- saving ----------------------------------------------------------------------------------------------------

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """Name -> tensor (sharing the module's memory) of all parameters and persistent buffers.

        keep_vars  the tensors themselves, still part of the graph
        """
        if args:  # PyTorch took them by position once
            given: list[Any] = [*args, *(destination, prefix, keep_vars)[len(args) :]]
            destination, prefix, keep_vars = given
        out: Any = OrderedDict() if destination is None else destination
        if destination is None:
            out._metadata = OrderedDict()
        metadata = {"version": self._version}
        if hasattr(out, "_metadata"):
            out._metadata[prefix[:-1]] = metadata
        for hook in self._state_hooks("_state_dict_pre_hooks"):
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(out, prefix, keep_vars)
        for name, child in self._modules.items():
            if child is not None:
                child.state_dict(destination=out, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._state_hooks("_state_dict_hooks"):
            changed = hook(self, out, prefix, metadata)
            if getattr(hook, "_from_public_api", False):
                if changed is not None:
                    raise RuntimeError("state_dict post-hook must return None")
            elif changed is not None:
                out = changed
        return out

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        for name, tensor in self._own_state():
            destination[prefix + name] = tensor if keep_vars else tensor.detach()
        if type(self).get_extra_state is not HasState.get_extra_state:
            destination[prefix + EXTRA] = self.get_extra_state()

    def get_extra_state(self) -> Any:
        """What else belongs into the state dict. A subclass that defines it defines `set_extra_state` as well."""
        raise RuntimeError("Reached a code path in Module.get_extra_state() that should never be called.")

    def set_extra_state(self, state: Any) -> None:
        """Take up what `get_extra_state` gave."""
        raise RuntimeError("Reached a code path in Module.set_extra_state() that should never be called.")

    def _own_state(self) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in self._parameters.items():
            if tensor is not None:
                yield name, tensor
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._transient:
                yield name, buffer

    # ---- loading ---------------------------------------------------------------------------------------------------

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copies values into the tensors of that name. Raises RuntimeError that lists everything that does not fit.

        assign  the tensors of the dict become the module's, rather than to be copied
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        given: Any = OrderedDict(state_dict)
        metadata = getattr(state_dict, "_metadata", None)
        found, errors = IncompatibleKeys([], []), list[str]()

        def load(module: HasState, part: Any, prefix: str) -> None:
            local = {} if metadata is None else dict(metadata.get(prefix[:-1], {}))
            local |= {"assign_to_params_buffers": assign} if assign else {}
            module._load_from_state_dict(part, prefix, local, True, found.missing_keys, found.unexpected_keys, errors)
            for name, child in module._modules.items():
                if child is not None:
                    inner = f"{prefix}{name}."
                    load(child, {k: v for k, v in part.items() if k.startswith(inner)}, inner)
            for hook in module._state_hooks("_load_state_dict_post_hooks"):
                if hook(module, found) is not None:
                    raise AssertionError(
                        "Hooks registered with ``register_load_state_dict_post_hook`` are notexpected to return new values, "
                        "if incompatible_keys need to be modified,it should be done inplace."
                    )

        load(self, given, "")
        keys: list[str] = []
        if strict:
            for kind, names in ("Missing", found.missing_keys), ("Unexpected", found.unexpected_keys):
                if names:
                    listed = ", ".join(f'"{name}"' for name in names)
                    keys.append(f"{kind} key(s) in state_dict: {listed}. ")
        errors = keys + errors
        if errors:
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t" + "\n\t".join(errors))
        return found

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: dict[str, Any], strict: bool, missing_keys: list[str],
        unexpected_keys: list[str], error_msgs: list[str],
    ) -> None:  # fmt: skip
        """Take up the module's own part, without its children's; what does not fit goes into the three lists."""
        for hook, with_module in self._state_hooks("_load_state_dict_pre_hooks"):
            module = (self,) if with_module else ()
            hook(*module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        own = dict(self._own_state())
        for name, tensor in own.items():
            key = prefix + name
            if key in state_dict:
                self._load_tensor(name, tensor, key, state_dict[key], local_metadata, error_msgs)
            elif strict and name != "num_batches_tracked":  # old checkpoints do not count batches
                missing_keys.append(key)
        extra = prefix + EXTRA
        if type(self).set_extra_state is not HasState.set_extra_state:
            if extra in state_dict:
                self.set_extra_state(state_dict[extra])
            elif strict:
                missing_keys.append(extra)
        elif strict and extra in state_dict:
            unexpected_keys.append(extra)
        for key in state_dict if strict else ():
            if key.startswith(prefix) and key != extra:
                name, _, rest = key[len(prefix) :].partition(".")
                if name not in own if not rest else self._modules.get(name) is None:
                    unexpected_keys.append(key)

    def _load_tensor(
        self, name: str, tensor: Tensor, key: str, value: Any, metadata: Mapping[str, Any], errors: list[str]
    ) -> None:
        if not isinstance(value, Tensor):
            errors.append(
                f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object from '
                f"checkpoint but received {type(value)}"
            )
        elif tuple(value.shape) != tuple(tensor.shape):
            errors.append(
                f"size mismatch for {key}: copying a param with shape {value.shape} from checkpoint, the shape in current "
                f"model is {tensor.shape}."
            )
        elif metadata.get("assign_to_params_buffers"):
            if name in self._parameters and not isinstance(value, type(tensor)):
                parameter: Any = type(tensor)
                value = parameter(value, requires_grad=tensor.requires_grad)
            setattr(self, name, value)
        else:
            with no_grad():
                tensor.copy_(value)

    # ---- hooks -----------------------------------------------------------------------------------------------------

    def _state_hooks(self, kind: str) -> list[Any]:
        return list(self.__dict__.setdefault(kind, OrderedDict()).values())

    def _register_state(self, kind: str, hook: Any) -> RemovableHandle:
        return hook_into(self.__dict__.setdefault(kind, OrderedDict()), hook)

    def register_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """`hook(module, prefix, keep_vars)` before the module's state is saved."""
        return self._register_state("_state_dict_pre_hooks", hook)

    def register_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """`hook(module, state_dict, prefix, local_metadata)` after it is saved; it may change the dict in place."""
        hook._from_public_api = True  # type: ignore[attr-defined]
        return self._register_state("_state_dict_hooks", hook)

    def _register_state_dict_hook(self, hook: Hook) -> RemovableHandle:
        """The same, of which the root's hooks may return another dict."""
        if getattr(hook, "_from_public_api", False):
            raise RuntimeError(
                "Cannot register the same function as the state dict post hook that was previously registered via "
                "register_state_dict_post_hook"
            )
        return self._register_state("_state_dict_hooks", hook)

    def register_load_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """`hook(module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)`."""
        return self._register_state("_load_state_dict_pre_hooks", (hook, True))

    def _register_load_state_dict_pre_hook(self, hook: Hook, with_module: bool = False) -> RemovableHandle:
        return self._register_state("_load_state_dict_pre_hooks", (hook, with_module))

    def register_load_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """`hook(module, incompatible_keys)` after the module was loaded; it may change the two lists in place."""
        return self._register_state("_load_state_dict_post_hooks", hook)
