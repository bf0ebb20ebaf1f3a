"""One backbone family per file."""
