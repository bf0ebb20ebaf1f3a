"""A plan made without a trace: what it decodes on the way, and folders that it needs, go when it is made."""

import contextlib
import tempfile
from collections.abc import Iterator

from raypeft.launch.preflight import check_store
from raypeft.store import Store


@contextlib.contextmanager
def without_trace(store: Store) -> Iterator[Store]:
    """Give a store to plan in, with what the cache of `store` holds; it goes at the end.

    So do folders that did not exist before, unless they are in use by then. It lies within `store`: what
    has no room here has none in a run.
    Raises: PreflightError as check_store.
    """
    folders = [path for path in (store.path, *store.path.parents) if not path.exists()]
    try:
        check_store(store)
        with tempfile.TemporaryDirectory(dir=store.path, prefix=".plan-") as folder:
            scratch = Store(folder)
            for path in store.cache.rglob("*"):
                if path.is_file():
                    link = scratch.cache / path.relative_to(store.cache)
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.symlink_to(path.resolve())
            yield scratch
    finally:
        for path in folders:
            with contextlib.suppress(OSError):  # not empty: somebody runs there meanwhile
                path.rmdir()
