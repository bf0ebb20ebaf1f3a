"""A page with the images of the most confident mistakes: for who holds the images, never part of a store."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from raypeft.analysis.questions.mistakes import Mistake
from raypeft.analysis.read.scores import Block, format_fraction
from raypeft.analysis.read.stores import StudyRows
from raypeft.core.errors import ConfigError
from raypeft.core.files import write_file

SIDE = 256
STYLE = "figure{display:inline-block;width:256px;margin:8px;vertical-align:top}img{max-width:100%}"
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Most confident mistakes</title>
<style>{style}</style></head><body><h1>Most confident mistakes</h1>{shown}</body></html>
"""


def write_gallery(
    output: Path,
    found: Mapping[tuple[Block, str], Sequence[Mistake]],
    images: Mapping[str, Image.Image],
    read: StudyRows,
) -> None:
    """Write one HTML file that needs no network; `images`: by case id, of all mistakes.

    Raises: ConfigError for an output inside a store, which others are sent; OSError.
    """
    for store in read.stores:
        if output.resolve().is_relative_to(store.path.resolve()):
            raise ConfigError(f"{output} lies in the store {store}, which holds no images; choose another -o")
    shown = ""
    for key, mistakes in found.items():
        shown += f"<h2>{html.escape(_title(*key))}</h2>"
        shown += "".join(_figure(one, images[one.case_id]) for one in mistakes)
    page = PAGE.format(style=STYLE, shown=shown)
    write_file(output, lambda file: file.write(page.encode()))


def _title(block: Block, method: str) -> str:
    model, dataset, fraction = block
    return f"{method}, {model}, {dataset}, {format_fraction(fraction)}"


def _figure(one: Mistake, image: Image.Image) -> str:
    small, content = image.copy(), io.BytesIO()
    small.thumbnail((SIDE, SIDE))
    small.save(content, format="PNG")
    picture = base64.b64encode(content.getvalue()).decode()
    runs = f"{one.wrong} of {one.runs} runs"
    said = html.escape(f"{one.label}, taken for {one.said} ({one.confidence:.2f}; {runs}): {one.case_id}")
    return (
        f'<figure><img alt="{said}" src="data:image/png;base64,{picture}">'
        f"<figcaption>{said}</figcaption></figure>"
    )
