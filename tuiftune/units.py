"""Numbers as people read them: durations, bytes, speeds, figures."""

from __future__ import annotations

import math
import re
import time

from tuiftune.errors import TuiftuneError

SIZES = {"": 1, "B": 1} | {
    f"{letter}{middle}B": base**power
    for power, letter in enumerate("KMGT", start=1)
    for middle, base in (("", 1000), ("i", 1024))
}


def duration(seconds: float) -> str:
    """`8.2 s`, `1 min 02 s`, `3 h 05 min`, `2 d 04 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def clock(seconds: float) -> str:
    """`0:42`, `12:05`, `3:05:00`: for what counts up or down."""
    whole = max(0, round(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def size(number: float) -> str:
    """Bytes with binary units: `512 B`, `3.6 MiB`, `11.2 GiB`."""
    if number < 1024:
        return f"{number:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        number /= 1024
        if number < 1024:
            return f"{number:.1f} {unit}"
    return f"{number / 1024:.1f} TiB"


def parse_size(text: str, least: int = 1) -> int:
    """Bytes of `12GiB` (binary), `12GB` (decimal), `800 MiB`, `0.5gib` or a bare number.

    Raises TuiftuneError where it is none, or less than `least`.
    """
    found = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*([a-z]*)\s*", text, re.IGNORECASE | re.ASCII)
    units = {name.lower(): bytes_ for name, bytes_ in SIZES.items()}
    if found is None or found[2].lower() not in units or float(found[1]) * units[found[2].lower()] < least:
        raise TuiftuneError(f"{text!r} is no amount of memory. Write it as 12GiB, 800MiB, 12GB or a number of bytes")
    return int(float(found[1]) * units[found[2].lower()])


def figure(value: float | None) -> str:
    """Four significant digits; `nan` and `inf` as they are; a dash for what is not known."""
    if value is None:
        return "—"
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= 10_000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 1e-3 or value == 0 else f"{value:.2e}"


def exact(value: float | None) -> str:
    """Six significant digits, whole numbers in full: for figures that are compared."""
    if value is None or not math.isfinite(value):
        return figure(value)
    return f"{value:,.0f}" if value == int(value) and abs(value) >= 1e6 else f"{value:.6g}"


def count(value: float | None) -> str:
    """A whole number with thousands: `12,345`."""
    return "—" if value is None else f"{value:,.0f}" if math.isfinite(value) else str(value)


def ago(moment: float, now: float | None = None) -> str:
    """`just now`, `5 min ago`, `3 h ago`, `2 d ago`, and the date beyond a month."""
    seconds = (time.time() if now is None else now) - moment
    if seconds < 60:
        return "just now"
    for limit, divisor, unit in ((3600, 60, "min"), (86400, 3600, "h"), (30 * 86400, 86400, "d")):
        if seconds < limit:
            return f"{int(seconds // divisor)} {unit} ago"
    return time.strftime("%Y-%m-%d", time.localtime(moment))
