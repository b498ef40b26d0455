"""Every sign that is drawn has an ASCII form here, for terminals that can show no other; what they can show."""

from __future__ import annotations

import codecs
import io
import locale
import os
import sys
import unicodedata
from typing import Any

from tuiftune.text import is_unicode

ALIKE = {
    "-": "·—–−─╌┄┈╴╶╸╺╾╼▔",  # noqa: RUF001 - a dash for the dot between two things, and for what is not known
    "=": "━═‖",
    "|": "│┃║╎┆┊╵╷╹╻▏▎▍▌▐▋▊▉▕",
    "+": "┌┐└┘├┤┬┴┼╭╮╰╯┏┓┗┛┣┫┳┻╋╔╗╚╝╠╣╦╩╬✓",
    "#": "█■▄▀▂▃▅▆▇▖▗▘▙▚▛▜▝▞▟",
    ":": "░▒▓",
    "*": "●◆•",
    "o": "○⭘",
    "(": "◐",
    ")": "◑",
    "u": "◒",
    "&": "✚",
    "%": "□",
    "x": "✗×",  # noqa: RUF001
    "^": "↑▲▴",
    "v": "↓▼▾",
    "<": "←◀‹",  # noqa: RUF001
    ">": "→▶▸›",  # noqa: RUF001
    "~": "…",
    "'": "°‘’′",  # noqa: RUF001
    '"': "“”",
    "[": "⟦",
    "]": "⟧",
    "_": "▫▁\ufffd",
    "n": "⏎",
    "t": "⇥",
    "r": "␍",
    "b": "⌫",
}
"""ASCII letter -> the signs that it stands for, each as wide as itself: no column moves."""
FORMS = {
    **dict.fromkeys(range(0x2500, 0x2580), "+"),  # what Textual or anybody else may draw lines with
    **dict.fromkeys(range(0x2580, 0x25A0), "#"),  # and blocks
    **{ord(sign): letter for letter, signs in ALIKE.items() for sign in signs},
    ord("🔎"): "/ ",  # Textual's, before what is searched for: two cells
}
UNKNOWN = "_"
"""For each cell of a letter that the terminal has not, and that is like none of ASCII's."""
CODEC = "ascii_signs_"
"""Its codecs are called so, and then as the encoding of the terminal."""
NEAREST = "tuiftune.nearest"


def in_ascii(text: str) -> str:
    """`text` with the ASCII form of every sign; as wide as before."""
    return text.translate(FORMS)


def terminal_encoding() -> str:
    """What the terminal reads, by its Python name: as PYTHONIOENCODING or the locale says.

    Python takes LC_ALL=C for UTF-8; who sets it says that there is no more than ASCII.
    """
    named = os.environ.get("PYTHONIOENCODING", "").partition(":")[0]
    if not named:
        named = "ascii" if os.environ.get("LC_ALL") in ("C", "POSIX") else locale.getpreferredencoding(False)
    try:
        return codecs.lookup(named).name
    except LookupError:
        return "ascii"


def ascii_only() -> bool:
    """Whether no sign is to be drawn but those of ASCII: the terminal's encoding is not UTF-8, or it is the Linux
    console, whose fonts have none. In a browser there are all."""
    if os.environ.get("TEXTUAL_DRIVER", "").endswith("WebDriver"):
        return False
    return terminal_encoding() != "utf-8" or os.environ.get("TERM") == "linux"


def print_in_any_encoding() -> None:
    """Have stdout and stderr write what there is no sign for by another one, and go on."""
    for stream in (sys.stdout, sys.stderr):
        write_what_it_can_show(stream)


def write_what_it_can_show(stream: Any) -> None:
    """Signs in ASCII where the terminal has no others; of letters that it has not the nearest one.

    The letters of a file or a pipe stay what they are as long as its encoding has them.
    """
    if not isinstance(stream, io.TextIOWrapper) or stream.encoding.startswith(CODEC):
        return
    if ascii_only() or not is_unicode(stream):
        encoding = (
            terminal_encoding() if stream.isatty() and is_unicode(stream) else codecs.lookup(stream.encoding).name
        )
        stream.reconfigure(encoding=CODEC + encoding.replace("-", "_"), errors="strict")


def _nearest(error: UnicodeError) -> tuple[str, int]:
    """As an error handler of an encoding: letters without their accents, else UNKNOWN; as wide as before."""
    from rich.cells import cell_len, set_cell_size

    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return set_cell_size("".join(_letter(sign, cell_len(sign)) for sign in missing), cell_len(missing)), error.end


def _letter(sign: str, width: int) -> str:
    plain = "".join(part for part in unicodedata.normalize("NFKD", sign) if part.isascii() and part.isprintable())
    return plain.ljust(width) if 0 < len(plain) <= width else UNKNOWN * width


class _Encoder(codecs.IncrementalEncoder):
    """Puts signs in their ASCII form before another encoder, which leaves letters to `_nearest`."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._inner = codecs.getincrementalencoder(encoding)(NEAREST)

    def encode(self, text: str, final: bool = False) -> bytes:
        return self._inner.encode(in_ascii(text), final)

    def reset(self) -> None:
        self._inner.reset()

    def setstate(self, state: int | str) -> None:
        self._inner.setstate(state)

    def getstate(self) -> int | str:
        return self._inner.getstate()


def _codec(name: str) -> codecs.CodecInfo | None:
    if not name.startswith(CODEC):
        return None
    inner = codecs.lookup(name.removeprefix(CODEC))

    def encode(text: str, _errors: str = "strict") -> tuple[bytes, int]:
        return inner.encode(in_ascii(text), NEAREST)[0], len(text)

    return codecs.CodecInfo(
        encode,
        inner.decode,
        incrementalencoder=lambda _errors="strict": _Encoder(inner.name),
        incrementaldecoder=inner.incrementaldecoder,
        name=name,
    )


codecs.register_error(NEAREST, _nearest)
codecs.register(_codec)
