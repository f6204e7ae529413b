"""Formulas that frameworks are known to compute with, where these lose digits; see `subjects.base.Form`."""
