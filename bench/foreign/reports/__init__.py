"""The reports, a module for each source project that gave several, and one for each kind of project that gave one."""
