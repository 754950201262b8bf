"""A small team that reads a source tree and writes a report: real work, no network, no keys."""
