"""The agent-worker service: runs agents; knows the broker and nothing else."""
