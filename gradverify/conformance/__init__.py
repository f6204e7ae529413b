"""Laws of autograd: what must hold on every engine, checked without an oracle and without a tolerance.

`engines` says how each engine spells things, `laws` holds the laws, `machine` drives two engines through random programs,
`scorecard` runs it all. A law that does not hold is shown as a short script in the engine's own code.
"""

from __future__ import annotations
