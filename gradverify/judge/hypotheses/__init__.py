"""Hypotheses about a wrong gradient: what would a backward pass with a certain mistake have given?

After a FAIL each hypothesis predicts the gradients of such a backward pass from the case alone: the op table's texts, run
in doubles with one thing changed. What agrees with the subject's answer in every entry, where the truth does not, names
the mistake. A prediction is no verdict: that stands already.

Tolerance.  A subject that makes the mistake rounds as well. The prediction is rerun with nudges, as the budget is, and an
entry may differ by b + SAFETY·(rms(rerun - prediction) + u·|prediction|): b is the entry's own budget, which has the moves
of the inputs in it; the distances hold the rounding of the prediction in doubles.

Chance.  An unrelated prediction comes within t of an entry that is off by e with a probability of about t/e, and of all
failing entries with the product. COINCIDENCES bounds that product times the number of predictions that were tried, so
that one entry in bfloat16 names nothing, and one in float64 may.

Cost.  A walk costs the entries of its nodes, ENTRIES_PER_NODE at least. What lies beyond WORK is not tried.
"""

from __future__ import annotations

from .explain import HYPOTHESES as HYPOTHESES
from .explain import Explanation as Explanation
from .explain import explain as explain
