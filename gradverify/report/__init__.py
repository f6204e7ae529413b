"""What people and machines read of a run. Reports listen to the runner's events; nothing here judges."""
