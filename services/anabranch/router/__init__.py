"""The router service: intake of runs, and where control goes after each reply."""
