"""A store: a sweep's plan and results, its driver, and its history."""

from raypeft.store.store import Store, store_path

__all__ = ["Store", "store_path"]
