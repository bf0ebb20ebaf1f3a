"""Metrics that need torch: import the file that you need, since this package must load without it."""
