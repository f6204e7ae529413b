"""Laws that need no oracle. `registry` has their record and finds them by name.

`vjp`, `autograd`, `derivatives`, `platforms`, `batches` and `state` declare the built-in ones.
"""

from . import autograd as autograd
from . import batches as batches
from . import derivatives as derivatives
from . import platforms as platforms
from . import state as state
from . import vjp as vjp
from .registry import BudgetsOf as BudgetsOf
from .registry import CaseLaw as CaseLaw
from .registry import Extent as Extent
from .registry import Trial as Trial
from .registry import register_law as register_law
from .registry import unregister_law as unregister_law
