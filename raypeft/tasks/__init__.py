"""What a loss and a score mean."""

from raypeft.tasks.base import Task
from raypeft.tasks.classify import Classify

__all__ = ["Classify", "Task"]
