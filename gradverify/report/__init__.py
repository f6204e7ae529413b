"""Reports of a run, for people and machines. Reports listen to the runner's events; nothing here judges."""
