"""Ports in memory: for the embedded mode, tests and the simulator."""
