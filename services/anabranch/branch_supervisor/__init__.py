"""The branch-supervisor service: admission, failure, timers, convergence, and the end of runs."""
