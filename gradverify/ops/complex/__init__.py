"""Complex ops: their rules over pairs of reals, and the lowering of complex graphs."""
