"""What catches wrong gradients, and what cries wolf: a catalogue of mutants and of hard correct functions."""
