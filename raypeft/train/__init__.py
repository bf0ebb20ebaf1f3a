"""One trial in one process; never Ray."""
