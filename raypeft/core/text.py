"""Text from files, tables and libraries, made fit to be shown: nothing hidden in it acts on the reader."""

import re

_BREAKS = "\n"
_HIDDEN = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # control characters: they move the cursor, colour, ring, and end lines
    "\u200b\u2028\u2029\u2060-\u2065\ufeff"  # neither seen nor needed by any script
    "\u202a-\u202e\u2066-\u206f"  # they turn the direction of what follows
    "\ud800-\udfff"  # half a character, or a byte of a file name that is not UTF-8
    "\U000e0000-\U000e007f]"
)


def visible(text: str, *, keep: str = "") -> str:
    r"""`text` with every hidden character spelled: ``\x1b``, ``\n``, ``\u202e``, a raw byte as ``\xe9``.

    `keep`: characters that stay. What is spelled is never spelled again.
    """
    return _HIDDEN.sub(lambda found: found[0] if found[0] in keep else _spelled(found[0]), text)


def count(number: int, singular: str, plural: str | None = None) -> str:
    """`1 image`, `2,000 images`, `0 classes` where the plural is not singular + "s"."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def _spelled(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte that does not decode
        code -= 0xDC00
    short = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
    return short.get(letter) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
