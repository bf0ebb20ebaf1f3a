"""Scores from labels and class probabilities."""
