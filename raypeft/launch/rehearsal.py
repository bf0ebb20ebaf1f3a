"""Make a plan without leaving a trace: decoded images and new folders are removed afterwards."""

import contextlib
import tempfile
from collections.abc import Iterator

from raypeft.launch.preflight import check_store
from raypeft.store import Store


@contextlib.contextmanager
def without_trace(store: Store) -> Iterator[Store]:
    """Yield a temporary store that sees the cache of `store`; it is removed at the end.

    New folders are removed too, unless they are in use by then. The temporary store is inside `store`, so
    what has no room here has none in a run.
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
