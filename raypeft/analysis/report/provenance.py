"""The end of a report: what each store's rows were made on, and the commands that make them again."""

from collections.abc import Callable, Mapping

from raypeft.analysis.read.stores import StoreRows, StudyRows
from raypeft.analysis.report.facts import command_rows, provenance_facts, store_argument, store_rows
from raypeft.analysis.report.parts import Part
from raypeft.analysis.report.tables import plain_table


def provenance_parts(read: StudyRows) -> list[Part]:
    """Return on what the rows were made, where they lie, and how to make them again."""
    several = len(read.sources) > 1
    parts = [Part(facts=by_store(read, provenance_facts))]
    if several:
        rows = store_rows(read)
        parts.append(
            Part(table=plain_table("Trials by cell and store", rows), fold="Trials by cell and store")
        )
    for name, one in zip(read.names, read.sources, strict=True):
        of_store = f" of {name}" if several else ""
        title = f"The command behind every cell{of_store}"
        parts += [
            Part(
                note="Where this leads to the store, it runs what is missing:",
                code=f"raypeft run {store_argument(one.store.path)}",
            ),
            Part(table=plain_table(title, command_rows(one.plan, one.store.path)), fold=title),
        ]
    return parts


def by_store(read: StudyRows, facts_of: Callable[[StoreRows], Mapping[str, str]]) -> dict[str, str]:
    """Return facts of every store: once if all say the same, else each with the store's name."""
    names = read.names
    found = [facts_of(one) for one in read.sources]
    told = {}
    for fact in dict.fromkeys(fact for facts in found for fact in facts):
        said = {name: facts[fact] for name, facts in zip(names, found, strict=True) if fact in facts}
        if len(said) == len(names) and len(set(said.values())) == 1:
            told[fact] = found[0][fact]
        else:
            told[fact] = "; ".join(f"{text} ({name})" for name, text in said.items())
    return told
