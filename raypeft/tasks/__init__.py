"""Tasks: what the loss and the score mean."""

from raypeft.tasks.augment import Augmenter
from raypeft.tasks.base import Task
from raypeft.tasks.classify import Classify
from raypeft.tasks.generate import Encoded, Generate

__all__ = ["Augmenter", "Classify", "Encoded", "Generate", "Task"]
