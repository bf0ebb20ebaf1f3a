"""A store: where a sweep's plan and results lie, who drives it, and what happened."""

from raypeft.store.store import Store, store_path

__all__ = ["Store", "store_path"]
