"""A seeded world in one thread: the production handler and deciders over memory ports, with crashes."""
