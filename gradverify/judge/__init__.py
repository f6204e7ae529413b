"""Compare, budget, laws and the one runner: case in, verdict out, events along the way."""
