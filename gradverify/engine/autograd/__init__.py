"""`torch.autograd`: backward and grad, custom functions, functional derivatives."""

from __future__ import annotations

from ..modes import enable_grad, inference_mode, no_grad, set_grad_enabled
from ..saving import SavedTensor
from . import forward_ad, functional, grad_mode, graph
from .anomaly import detect_anomaly, is_anomaly_enabled, set_detect_anomaly
from .function import Function, FunctionCtx, once_differentiable
from .gradcheck import gradcheck, gradgradcheck
from .gradients import backward, grad
from .variable import Variable

__all__ = [
    "Function", "FunctionCtx", "SavedTensor", "Variable", "backward", "detect_anomaly", "enable_grad", "forward_ad",
    "functional", "grad", "grad_mode", "gradcheck", "gradgradcheck", "graph",
    "inference_mode", "is_anomaly_enabled", "no_grad", "once_differentiable", "set_detect_anomaly", "set_grad_enabled",
]  # fmt: skip
