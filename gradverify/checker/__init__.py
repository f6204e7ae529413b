"""Judging a Python function: trace it, judge the given point, then probe around it.

Read `question` (what is asked), `trace_case` (the case at a point), `driver` (the verdict), `probes` (what is asked besides;
declared in `same_point` and `variations`), `orders` and `compositions` (derivatives of derivatives).
"""
