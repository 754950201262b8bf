"""What is decided: pure functions of a run's event stream."""
