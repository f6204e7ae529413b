"""Laws that need no oracle. `registry` says what one is and finds it; `vjp` and `autograd` declare the built-in ones."""

from . import autograd as autograd
from . import vjp as vjp
from .registry import CaseLaw as CaseLaw
from .registry import Trial as Trial
from .registry import register_law as register_law
from .registry import unregister_law as unregister_law
