"""Ranks of methods, how sure they are, and what they say in words."""
