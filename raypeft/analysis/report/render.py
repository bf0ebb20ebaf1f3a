"""A table as terminal text, HTML, CSV, Markdown and LaTeX."""

import csv
import io
import re
from collections.abc import Callable, Iterable
from typing import Literal

from markupsafe import Markup
from rich import box
from rich.text import Text

from raypeft.analysis.report.tables import Row, Table
from raypeft.core.terminal import Grid, Terminal, stdout_width
from raypeft.core.text import csv_cell, visible

Form = Literal["text", "csv", "markdown", "latex", "html"]


def to_grid(table: Table) -> Grid:
    """Return a grid for a terminal; a line with the group's name opens its rows."""
    rows: list[list[Text]] = []
    for group, own in table.by_group().items():
        rows += [[Text(visible(group), style="bold")]] if group else []
        rows += [[_cell(row, name) for name in table.columns] for row in own]
    return Grid(
        columns=[table.columns[0], *("\n".join(name.rsplit(" ", 1)) for name in table.columns[1:])],
        rows=rows,
        title=table.title,
        notes="\n".join(table.notes),
        box=box.SIMPLE_HEAD,
        justify="right",
    )


def show(*parts: Table | str | None) -> None:
    """Print tables and lines on stdout; None prints nothing."""
    terminal = Terminal(width=stdout_width())
    for part in parts:
        if part is not None:
            terminal.print(to_grid(part) if isinstance(part, Table) else part)


def _cell(row: Row, name: str) -> Text:
    """A remark in brackets below its number."""
    text = visible(row.texts[name]).replace(" (", "\n(")
    return Text(text, style="bold" if name in row.bold else "")


def to_html(table: Table) -> Markup:
    """Return a <table>, every text escaped; the notes are left to the page."""
    kinds = {name: _text_class(table, name) for name in table.columns}  # once: a table may have 1,000 rows
    heads = Markup("").join(
        Markup("<th scope=col{}>{}</th>").format(kind, name) for name, kind in kinds.items()
    )
    kind = Markup(" class=words") if any(_is_long(table, name) for name in table.columns) else ""
    parts = [
        Markup("<table{}><caption><span>{}</span></caption><thead><tr>{}</tr></thead>").format(
            kind, table.title, heads
        )
    ]
    first = table.columns[0] if table.columns else ""
    for group, rows in table.by_group().items():
        parts.append(Markup("<tbody>"))
        if group:
            line = Markup('<tr><th scope="rowgroup" colspan="{}"><span>{}</span></th></tr>')
            parts.append(line.format(len(table.columns), group))
        for row in rows:
            cells = Markup("").join(
                _html_cell(name, text, kind=kinds[name], is_bold=name in row.bold)
                for name, text in row.texts.items()
                if name != first
            )
            parts.append(Markup('<tr><th scope="row">{}</th>{}</tr>').format(row.texts[first], cells))
        parts.append(Markup("</tbody>"))
    return Markup("\n").join([*parts, Markup("</table>")])


def to_csv(table: Table) -> str:
    """Return CSV: one header line, the group first, without bold and notes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    is_grouped = any(row.group for row in table.rows)
    lines = [[table.group_name, *table.columns], *([row.group, *row.texts.values()] for row in table.rows)]
    writer.writerows(map(csv_cell, line if is_grouped else line[1:]) for line in lines)
    return text.getvalue()


def to_markdown(table: Table) -> str:
    """Return a pipe table, as GitHub shows it, between its title and its notes."""
    lines = [f"**{_markdown(table.title)}**", "", _pipes(table.columns)]
    lines.append(_pipes(["---", *["--:"] * (len(table.columns) - 1)]))
    for group, rows in table.by_group().items():
        if group:
            lines.append(_pipes([f"**{_markdown(group)}**", *[""] * (len(table.columns) - 1)]))
        lines += [
            _pipes([f"**{_markdown(t)}**" if n in row.bold else _markdown(t) for n, t in row.texts.items()])
            for row in rows
        ]
    return "\n".join([*lines, "", *(f"{_markdown(note)}\n" for note in table.notes)])


def to_latex(table: Table) -> str:
    """Return a table environment with booktabs' rules; the notes go into the caption."""
    width = len(table.columns)
    lines = [
        r"\begin{table}", r"\centering", rf"\caption{{{_latex(_sentences([table.title, *table.notes]))}}}",
        rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}", r"\toprule", _ampersands(map(_latex, table.columns)),
    ]  # fmt: skip
    for group, rows in table.by_group().items():
        lines.append(r"\midrule")
        if group:
            lines.append(rf"\multicolumn{{{width}}}{{l}}{{\textit{{{_latex(group)}}}}} \\")
        lines += [
            _ampersands(
                rf"\textbf{{{_latex(t)}}}" if n in row.bold else _latex(t) for n, t in row.texts.items()
            )
            for row in rows
        ]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


RENDERERS: dict[Form, Callable[[Table], str]] = {
    "csv": to_csv,
    "markdown": to_markdown,
    "latex": to_latex,
    "html": to_html,
}
"""Every form but the terminal's."""

SUFFIXES = {"csv": "csv", "markdown": "md", "latex": "tex", "html": "html"}


def _text_class(table: Table, name: str) -> Markup:
    """Columns of words stand left, columns of numbers right."""
    texts = [row.texts.get(name, "") for row in table.rows]
    is_text = any(
        len(re.findall(r"[a-zA-Z]", re.sub(r" \(.*\)$|diverged|n=\d+", "", text))) > 2 for text in texts
    )
    long = Markup(" long") if _is_long(table, name) else Markup("")
    return Markup(' class="text{}"').format(long) if is_text else Markup("")


def _is_long(table: Table, name: str) -> bool:
    """A column of sentences; a narrow screen then shows a row as lines, each under its column's name."""
    return any(len(row.texts.get(name, "")) > 60 for row in table.rows)


def _html_cell(name: str, text: str, *, kind: Markup, is_bold: bool) -> Markup:
    score, opening, remark = text.partition(" (") if not kind else (text, "", "")
    content = Markup("<strong>{}</strong>" if is_bold else "{}").format(score)
    return Markup('<td data-name="{}"{}>{}{}</td>').format(
        name, kind, content, Markup("<br><small>({}</small>").format(remark) if opening else ""
    )


def _pipes(texts: Iterable[str]) -> str:
    return "| " + " | ".join(texts) + " |"


def _sentences(texts: Iterable[str]) -> str:
    return " ".join(text if text.endswith((".", "?", "!")) else f"{text}." for text in texts if text)


def _ampersands(texts: Iterable[str]) -> str:
    return " & ".join(texts) + r" \\"


def _markdown(text: str) -> str:
    return re.sub(r"([\\|*_<>`\[\]])", r"\\\1", text)


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "—": "---", "–": "--",
    "<": r"$<$", ">": r"$>$", "[": "{[}", "*": "{*}",  # LaTeX takes these two as options of a line end
}  # fmt: skip


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
