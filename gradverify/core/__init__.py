"""The vocabulary: interval, op, graph, case, verdict, errors. Standard library only; imports nothing above it."""
