"""Make text from files, tables and libraries safe to show: nothing hidden in it can act on the reader."""

import hashlib
import re
from collections.abc import Sequence

LONGEST_NAME = 100  # of a file, without its suffix; file systems allow 255 bytes, some archives 100
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # on Windows, and shares of it

_HIDDEN = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # control characters: they move the cursor, colour, ring, and end lines
    "\u200b\u2028\u2029\u2060-\u2065\ufeff"  # neither seen nor needed by any script
    "\u202a-\u202e\u2066-\u206f"  # they turn the direction of what follows
    "\ud800-\udfff"  # half a character, or a byte of a file name that is not UTF-8
    "\U000e0000-\U000e007f]"
)
_HALF = re.compile("[\ud800-\udfff]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
_SIGNED = re.compile(r"[+-][0-9.]([0-9.,%e±\s()\[\]to+-]*[0-9%)\]])?")


def visible(text: str, *, keep: str = "") -> str:
    r"""Return `text` with hidden characters spelled: ``\x1b``, ``\n``, ``\u202e``, a raw byte as ``\xe9``.

    `keep`: characters that stay. What is spelled is never spelled again.
    """
    return _HIDDEN.sub(lambda found: found[0] if found[0] in keep else _spelled(found[0]), text)


def whole(text: str) -> str:
    """Return `text` with half characters (lone surrogates) spelled; no encoding of Unicode can hold them."""
    return _HALF.sub(lambda found: _spelled(found[0]), text)


def count(number: int, singular: str, plural: str | None = None) -> str:
    """Return a number with its noun: `1 image`, `2,000 images`; give `plural` if it is not singular + "s"."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def listed(names: Sequence[str]) -> str:
    """Return the names as `a, b and c`."""
    *first, last = names or [""]
    return f"{', '.join(first)} and {last}" if first else last


def natural(text: str) -> list[tuple[int, int, str]]:
    """Return a sort key that puts d2 before d10."""
    parts = re.split(r"([0-9]+)", text)
    return [(1, int(part), "") if number % 2 else (0, 0, part) for number, part in enumerate(parts)]


def shorten(text: str, longest: int) -> str:
    """Return `text`, or its two ends with ... between them, at most `longest` characters in all."""
    half = (longest - 3) // 2
    return text if len(text) <= longest else f"{text[: longest - 3 - half]}...{text[-half:]}"


def csv_cell(text: str) -> str:
    """Return a cell that a spreadsheet shows and never runs: a quote is put before a text that is a formula.

    Numbers and intervals stay as they are: `-0.5`, `+0.02 (-0.01 to 0.05)`.
    """
    is_formula = text.startswith(_FORMULA) and not _SIGNED.fullmatch(text)
    return f"'{text}" if is_formula else text


def file_name(*parts: str) -> str:
    """Return a name, without suffix, that any file system accepts: `fig1-vit_base-ham10000`.

    If `parts` hold other characters, are too long or are reserved, the name ends in a digest of them, so that
    two texts never share a name.
    """
    parts = tuple(part for part in parts if part)
    plain = "-".join(re.sub(r"[^A-Za-z0-9._]+", "_", part).strip("_.") for part in parts)
    plain = f"_{plain}" if RESERVED.match(plain) else plain
    if plain == "-".join(parts) and 0 < len(plain) <= LONGEST_NAME:
        return plain
    digest = hashlib.sha256("/".join(parts).encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{plain[: LONGEST_NAME - 9]}-{digest}".lstrip("-")


def _spelled(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte that does not decode
        code -= 0xDC00
    short = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
    return short.get(letter) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
