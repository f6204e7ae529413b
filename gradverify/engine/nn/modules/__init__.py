"""`torch.nn.modules`: where PyTorch keeps its layers. Here it holds what belongs to all modules."""

from . import module, utils

__all__ = ["module", "utils"]
