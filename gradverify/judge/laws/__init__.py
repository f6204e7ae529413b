"""Laws that need no oracle."""
