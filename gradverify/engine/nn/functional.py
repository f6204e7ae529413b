"""`torch.nn.functional`: layers and losses as functions."""

from __future__ import annotations

from .basics import *  # noqa: F403
from .basics import _pair as _pair
from .compositions import *  # noqa: F403
