"""Public projects' own suites with the sanitizer."""
