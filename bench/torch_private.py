"""PyTorch's private names by which its tests look at an engine's state, each in terms of the engine under test.

A test that asks `torch._C._current_graph_task_id()` is about the numbers of backward passes, not about the name. Only
names that say what the engine has are here: what stands for the dispatcher, for C++ or for another device is left out, and
the test fails, or is counted apart (`torch_tests.OUTSIDE`).
"""

from __future__ import annotations

import warnings
import weakref
from types import SimpleNamespace
from typing import Any


def names_of(engine: Any) -> dict[str, Any]:
    """The engine's stand-ins, by PyTorch's full names."""
    from gradverify.engine import views
    from gradverify.engine.autograd import forward_ad, walk
    from gradverify.engine.autograd.function import DelayedError
    from gradverify.engine.modes import state
    from gradverify.engine.tape import Node
    from gradverify.engine.tensor import AccumulateGrad

    class WeakTensorRef:
        def __init__(self, x: Any) -> None:
            self._ref = weakref.ref(x)

        def expired(self) -> bool:
            return self._ref() is None

    def task() -> int:
        number = walk.current_walk()
        return -1 if number is None else number

    def will_execute(node: Any) -> bool:
        if not isinstance(node, Node):
            raise RuntimeError("_will_engine_execute_node expects an grad_fn, but got " + type(node).__name__)
        if walk.current_walk() is None:
            raise RuntimeError("_get_should_execute_nodes should only be called during the backward pass")
        return walk.will_run(node)

    class WarnInBackward(engine.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            warnings.warn("Warn from backward", UserWarning, stacklevel=2)
            return g

    c = "torch._C."
    return {
        c + "is_grad_enabled": engine.is_grad_enabled,
        c + "_WeakTensorRef": WeakTensorRef,
        c + "_current_graph_task_id": task,
        c + "_will_engine_execute_node": will_execute,
        c + "_autograd.SavedTensor": engine.autograd.SavedTensor,
        c + "_autograd._saved_tensors_hooks_is_enabled": lambda: state.no_saved_hooks is None,
        c + "_autograd._unsafe_set_version_counter": views.set_versions,
        c + "_functions.AccumulateGrad": AccumulateGrad,
        c + "_functions.DelayedError": DelayedError,
        c + "_set_fwd_grad_enabled": forward_ad.set_enabled,
        c + "_nn._test_warn_in_autograd": WarnInBackward.apply,
        c + "has_lapack": True,
        "torch.autograd.forward_ad._is_fwd_grad_enabled": forward_ad.is_enabled,
        "torch.autograd.forward_ad._set_fwd_grad_enabled": forward_ad.set_enabled,
        "torch.autograd._unsafe_preserve_version_counter": views.preserved_versions,
        "torch.autograd._force_original_view_tracking": views.replay_views,
        "torch._unique": lambda x, sorted=True, return_inverse=False: engine.unique(x, sorted, return_inverse),
        "torch._unique2": engine.unique,
        "torch._VF": SimpleNamespace(unique_dim=lambda x, dim, **options: engine.unique(x, dim=dim, **options)),
    }
