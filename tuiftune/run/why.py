"""`tuiftune why RUN`: how a run stands or what ended it, as a person wants to read it. The dashboard shows the same."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tuiftune import units
from tuiftune.run.card import Card, Healed, card_of
from tuiftune.run.folder import Run, state_of
from tuiftune.run.follow import Follower, Moment
from tuiftune.text import one_line

LABEL = 14
HEALED_SHOWN = 6
"""The newest; the others are counted."""
FOR = {"go on": "go on", "start over": "start over", "another": "another run", "look": "look", "log": "its log"}


def look(run: Run) -> Card:
    """The card of a run, whatever it is doing. Raises RunNotFound where its state cannot be read."""
    state = state_of(run)
    card = card_of(run, state)
    if state.active:
        moment = _moment(run)
        stalled = f"{moment.stall.text}, which is unusual" if moment.stall else ""
        said = (one_line(state.reason or "", 2000), stalled, moment.doing)
        return replace(card, sentence="; ".join(filter(None, said)))
    if state.name == "finished":
        times = len(card.healed)
        healed = f" It went on by itself {_times(times)} after its worker had failed." if times else ""
        return replace(card, sentence=f"nothing went wrong.{healed}", commands={"log": card.commands["log"]})
    return card


def _moment(run: Run) -> Moment:
    follower = Follower(run)
    try:
        return follower.look()
    finally:
        follower.close()


def text(card: Card, width: int, now: float | None = None) -> str:
    """What happened in a sentence; when and where; the end of the log; what next. In columns of `width` cells."""
    now = time.time() if now is None else now
    lines = [f"{card.id} {headline(card)}", ""]
    for label, fact in facts(card, now):
        first, *more = textwrap.wrap(fact, max(20, width - LABEL - 3), break_on_hyphens=False) or [""]
        lines.append(f"  {label:<{LABEL}} {first}".rstrip())
        lines += [" " * (LABEL + 3) + line for line in more]
    if card.log and card.state != "finished":
        lines += ["", f"The end of {card.log_name}:", *(f"  {line}" for line in card.log)]
    if card.advice:
        lines += ["", f"What next: {card.advice}"]
    if card.commands:
        lines += ["", *(f"  {FOR.get(what, what) + ':':<{LABEL}} {command}" for what, command in card.commands.items())]
    return "\n".join(lines)


def headline(card: Card) -> str:
    """The state, and what happened in a sentence."""
    said = card.sentence.startswith(card.state)
    return card.sentence if said else f"{card.state}: {card.sentence}" if card.sentence else card.state


def facts(card: Card, now: float) -> Iterator[tuple[str, str]]:
    """Label and text of each thing that is known; what is not is left out. A label that is empty goes on with the one
    before."""
    yield "since" if _goes_on(card) else "ended", _when(card, now)
    if card.ended_by:
        kind = f" ({card.kind})" if card.kind != card.state else ""
        yield "ended by", f"{card.ended_by}{kind}"
    if card.exception:
        yield "exception", card.exception
    if card.place:
        yield "place", card.place
    yield "step", _step(card)
    yield "checkpoint", _checkpoint(card)
    for reason in card.passed_over:
        yield "", f"passed over: {reason}"
    yield from healed_facts(card.healed)
    yield from _machine(card)
    if card.environment:
        yield "environment", ", ".join(f"{name} {value}" for name, value in card.environment.items())
    for problem in card.unread:
        yield "not read", problem


def _goes_on(card: Card) -> bool:
    return card.state not in ("finished", "stopped", "released", "failed", "interrupted")


def _when(card: Card, now: float) -> str:
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(card.time))
    attempt = f", attempt {card.attempt}" if card.attempt > 1 else ""
    unseen = " at the earliest" if card.state == "interrupted" else ""
    return f"{moment} ({units.ago(card.time, now)}){unseen}{attempt}"


def _step(card: Card) -> str:
    text = f"{card.step:,} of {card.total_steps:,}" if card.total_steps else f"{card.step:,}"
    if card.last_good_step is None:
        return text
    loss = f"{units.figure(card.last_good_loss)}{' (made up)' if card.made_up else ''}"
    if card.last_good_step >= card.step:
        return f"{text}, loss {loss}"
    return f"{text}; loss finite until step {card.last_good_step:,} ({loss})"


def _checkpoint(card: Card) -> str:
    if card.checkpoint is None:
        return "none"
    return f"step {card.checkpoint:,} (whole, by the sizes of its files)"


def healed_facts(healed: Sequence[Healed]) -> Iterator[tuple[str, str]]:
    label = "healed"
    if len(healed) > HEALED_SHOWN:
        yield label, f"{len(healed)} times, the newest:"
        label = ""
    for one in healed[-HEALED_SHOWN:]:
        clock = time.strftime("%H:%M:%S", time.localtime(one.time))
        yield label, f"{clock} at step {one.step:,}: {one.sentence}"
        label = ""


def _machine(card: Card) -> Iterator[tuple[str, str]]:
    label = "machine"
    for name, fields in sorted(card.devices.items()):
        text = host_text(fields) if name == "host" else gpu_text(name, fields)
        if text:
            yield label, text
            label = ""
    if card.devices_time is not None and not label:
        yield "", f"as of {time.strftime('%H:%M:%S', time.localtime(card.devices_time))}"


def gpu_text(name: str, fields: Mapping[str, Any]) -> str:
    """`gpu0 NVIDIA RTX: 61 °C, VRAM 5.2 GiB of 12.0 GiB, utilisation 97 %, slowed down by heat`."""
    if fields.get("error"):
        return f"{name}: {fields['error']}"
    parts = []
    if "temperature_c" in fields:
        parts.append(f"{fields['temperature_c']:.0f} °C")
    if "memory_used_bytes" in fields and "memory_total_bytes" in fields:
        used, total = units.size(fields["memory_used_bytes"]), units.size(fields["memory_total_bytes"])
        parts.append(f"VRAM {used} of {total}")
    if "utilization_percent" in fields:
        parts.append(f"utilisation {fields['utilization_percent']:.0f} %")
    if fields.get("throttle"):
        parts.append(f"slowed down: {fields['throttle']}")
    return f"{name} {fields.get('name', '')}".rstrip() + f": {', '.join(parts) or 'tells nothing'}"


def host_text(fields: Mapping[str, Any]) -> str:
    """`CPU 93 %, RAM 3.1 GiB of 15.6 GiB, disk 120.0 GiB free; no NVIDIA driver`."""
    parts = []
    if "cpu_percent" in fields:
        parts.append(f"CPU {fields['cpu_percent']:.0f} %")
    if "ram_used_bytes" in fields and "ram_total_bytes" in fields:
        parts.append(f"RAM {units.size(fields['ram_used_bytes'])} of {units.size(fields['ram_total_bytes'])}")
    if "disk_free_bytes" in fields:
        parts.append(f"disk {units.size(fields['disk_free_bytes'])} free")
    status = fields.get("gpu_status")
    return "; ".join(filter(None, (", ".join(parts), None if status == "ok" else status)))


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
