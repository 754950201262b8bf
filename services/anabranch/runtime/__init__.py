"""How it survives: the pipeline, its ports, and the life of a service."""
