"""When a GPU holds its clocks down for heat or want of power, and for how long: what is worth an event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuiftune.text import one_line
from tuiftune.units import duration

REASONS = ("heat, by hardware", "heat", "power limit", "power brake", "board limit", "slowed by hardware")
"""Words of tuiftune.telemetry.throttle_text that mean heat or power; one that holds another comes before it."""
STARTS_S = 3.0
"""A reason counts once it has stood so long: near its power limit a card reports it now and then."""
ENDS_S = 10.0
"""It has ended when it was away so long."""


@dataclass
class _Spell:
    """One reason on one GPU, without a break."""

    since: float
    seen: float
    told: bool = False


class Throttling:
    """Fed with each sample; says what starts and what ends."""

    def __init__(self) -> None:
        self._spells: dict[tuple[str, str], _Spell] = {}

    def look(self, when: float, devices: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The alerts that a sample taken at `when` (seconds since the epoch) is the cause of.

        Each is {"alert": "throttle", "device", "reason", "phase": "start" or "end", "since", "seconds", "text"}.
        A GPU that does not tell (lost, not supported) changes nothing.
        """
        alerts = []
        for device, fields in devices.items():
            if isinstance(fields.get("throttle"), str):
                alerts += self._look_at(when, device, reasons_in(fields["throttle"]))
        return alerts

    def _look_at(self, when: float, device: str, reasons: list[str]) -> list[dict[str, Any]]:
        alerts = []
        for reason in reasons:
            spell = self._spells.setdefault((device, reason), _Spell(when, when))
            spell.seen = max(spell.seen, when)
            if not spell.told and when - spell.since >= STARTS_S:
                spell.told = True
                alerts.append(_alert(device, reason, spell, "start"))
        for (of, reason), spell in list(self._spells.items()):
            if of != device or reason in reasons:
                continue
            if not spell.told:
                del self._spells[of, reason]
            elif abs(when - spell.seen) >= ENDS_S:  # the clock may have been set back
                del self._spells[of, reason]
                alerts.append(_alert(device, reason, spell, "end"))
        return alerts


def reasons_in(text: str) -> list[str]:
    """Those of REASONS that a sample's words name: `power limit, heat, by hardware`."""
    found = []
    for reason in REASONS:
        if reason in text:
            found.append(reason)
            text = text.replace(reason, "")
    return found


def _alert(device: str, reason: str, spell: _Spell, phase: str) -> dict[str, Any]:
    seconds = max(0.0, spell.seen - spell.since)
    now = "slowed down" if phase == "start" else f"no longer slowed down (it was for {duration(seconds)})"
    text = f"{device} is {now}: {reason}"
    return {
        "alert": "throttle",
        "device": device,
        "reason": reason,
        "phase": phase,
        "since": spell.since,
        "seconds": round(seconds, 1),
        "text": one_line(text),
    }
