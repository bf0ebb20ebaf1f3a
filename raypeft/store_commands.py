"""The commands that handle a store as a whole: clean, export."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from raypeft.core.text import count
from raypeft.output import AsJson, facts, print_json, print_rows, split_list, talk
from raypeft.store import Store


def clean(
    store: Path,
    yes: Annotated[bool, typer.Option("--yes", help="Remove checkpoints and caches now.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what each part of a store takes; with --yes remove checkpoints and caches, never results."""
    from raypeft.store.parts import clean_store, measure_store

    held = Store(store)
    sizes = measure_store(held)
    if yes:
        clean_store(held)
    if as_json:
        print_json([asdict(size) for size in sizes])
        return
    rows = [
        {
            "part": size.part,
            "files": f"{size.files:,}",
            "MB": f"{size.bytes / 1e6:,.1f}",
            "can be removed, MB": f"{size.removable / 1e6:,.1f}" if size.removable else "",
        }
        for size in sizes
    ]
    print_rows(rows, as_json=False)
    removable = sum(size.removable for size in sizes)
    if yes:
        facts.print(f"removed {removable / 1e6:,.1f} MB")
    elif removable:
        facts.print(
            f"raypeft clean {store} --yes removes checkpoints and caches: trials that have not ended start "
            "from their beginning, images are decoded again; results stay"
        )


def export(
    store: Path,
    output: Annotated[Path, typer.Option("-o", "--output", help="A zip file to write.")],
    adapters: Annotated[
        str | None, typer.Option(metavar="METHOD,...", help="Also the adapters of these methods.")
    ] = None,
) -> None:
    """Pack report, tables, ledger and predictions for a colleague; no checkpoints, caches or images.

    Every command that reads a store opens the archive, or the folder unpacked from it.
    """
    from raypeft.analysis.report.pack import pack_store

    names = pack_store(Store(store), output, methods=split_list(adapters, str) or [])
    facts.print(str(output))
    talk.print(f"{count(len(names), 'file')}, {output.stat().st_size / 1e6:,.1f} MB")


STORE_COMMANDS = clean, export
