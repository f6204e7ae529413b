"""Other projects' own test-suites, each call of their gradient checkers beside ours."""
