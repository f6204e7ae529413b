"""NumPy, with a backward pass by hand."""
