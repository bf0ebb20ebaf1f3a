"""Metrics that need torch. Import the file that you need: this package itself must load without torch."""
