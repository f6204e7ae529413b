"""`torch.autograd`: backward and grad, custom functions, functional derivatives."""

from __future__ import annotations

from ..modes import enable_grad, inference_mode, no_grad, set_grad_enabled, state
from ..saving import SavedTensor
from . import forward_ad, functional, grad_mode, graph
from .anomaly import detect_anomaly, is_anomaly_enabled, set_detect_anomaly
from .function import Function, FunctionCtx, once_differentiable
from .gradcheck import gradcheck, gradgradcheck
from .gradients import backward, grad
from .variable import Variable


def is_view_replay_enabled() -> bool:
    """Does a view that is made anew after a write have the nodes of its ops?"""
    return state.replays_views


__all__ = [
    "Function", "FunctionCtx", "SavedTensor", "Variable", "backward", "detect_anomaly", "enable_grad", "forward_ad",
    "functional", "grad", "grad_mode", "gradcheck", "gradgradcheck", "graph",
    "inference_mode", "is_anomaly_enabled",
    "is_view_replay_enabled", "no_grad", "once_differentiable", "set_detect_anomaly", "set_grad_enabled",
]  # fmt: skip
