"""`torch.autograd.grad_mode`: what is recorded, and what not."""

from ..modes import enable_grad, inference_mode, no_grad, set_grad_enabled

__all__ = ["enable_grad", "inference_mode", "no_grad", "set_grad_enabled"]
