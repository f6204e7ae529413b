"""The one runner: jobs in, events out."""
