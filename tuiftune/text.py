"""Make any text safe to print: what comes from data, logs, names and profiles passes here."""

from __future__ import annotations

import re
from typing import Any

_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor, screen
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"  # OSC: title, clipboard, links
    r"|(?:\x1b[PX^_]|[\x90\x98\x9e\x9f])[^\x1b\x9c\n]*(?:\x1b\\|\x9c)?"  # DCS, SOS, PM, APC
    r"|\x1b(?:[ -/]+[0-~]|[0-~])?"  # two characters, or with intermediates: character sets, resets
)
"""Sequences whole, so that `ESC ]0;title BEL` leaves nothing of itself; one that never ends, to its line's end."""
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
"""C0 but tab and line break, DEL, C1, bidi marks and overrides, zero-width and tag signs, lone surrogates."""


def plain(text: str, limit: int = 10_000) -> str:
    """`text` without terminal escape sequences and control characters, at most `limit` characters of it."""
    cleaned = _CONTROLS.sub("", _ESCAPES.sub("", text[: 2 * limit]))
    if len(cleaned) <= limit and len(text) <= 2 * limit:
        return cleaned
    return cleaned[: limit - 1] + "…"


def one_line(text: str, limit: int = 500) -> str:
    """`plain`, with line breaks and tabs as blanks."""
    return plain(text.replace("\n", " ").replace("\t", " "), limit)


def is_unicode(stream: Any) -> bool:
    """Whether every letter can be written to it."""
    return str(getattr(stream, "encoding", None) or "").lower().startswith("utf")


def brief(error: BaseException) -> str:
    """What an error says, on one line of at most 300 characters, or its type where it says nothing."""
    return one_line(" ".join(str(error).split()), 300) or type(error).__name__
