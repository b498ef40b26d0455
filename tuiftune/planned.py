"""How `tuiftune plan` prints what it found out: the facts of `tuiftune.run.plan_report` as a table."""

from __future__ import annotations

from typing import Any

from tuiftune import units

Facts = dict[str, Any]
Block = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""The header of a table (empty for names with their values) and its rows."""

NO_PLAN = "there is no plan for"
"""So begins what is said of a trainer that cannot be planned."""
PARTS = ("weights", "gradients", "optimizer", "activations", "logits")


def frame(found: Facts) -> str:
    """Blocks of lines: the model, its memory, whether it fits, the steps, the time."""
    from tuiftune.output import table

    blocks = [_model(found), _memory(found), _fit(found), _steps(found)]
    return "\n\n".join(table(rows, header) if header else _pairs(rows) for header, rows in blocks)


def plan_line(found: Facts) -> str:
    """`fits: 3.1 of 11.6 GiB · about 14 min`: whether it fits and how long it takes, as far as that is known."""
    device = found["device"]
    needed, free = units.size(found["memory"]["total_bytes"]), units.size(device["available_bytes"])
    number, unit = needed.split()
    memory = f"{number if free.endswith(f' {unit}') else needed} of {free}{'' if device['type'] == 'cuda' else ' RAM'}"
    if found["fits"]:
        return f"fits: {memory} · {_time_in_all(found)}"
    most = found["largest_batch_tokens"]
    hint = f"it would with train.batch_tokens = {most}" if most is not None else "not even one row does"
    return f"does not fit: {memory} · {hint}"


def _time_in_all(found: Facts) -> str:
    if found["data_problem"] is not None:
        return "how long depends on the data"
    seconds, epoch_steps = found["seconds_per_epoch"], found["steps_per_epoch"]
    if not seconds or not epoch_steps:
        return f"{found['total_steps']:,} steps, how long is known after a first run"
    seconds *= found["total_steps"] / epoch_steps
    return "less than a minute" if seconds < 60 else f"about {_roughly(seconds)}"


def _roughly(seconds: float) -> str:
    """`14 min`, `3 h 05 min`, `2 d 04 h`: no seconds, which nobody knows beforehand."""
    return units.duration(max(60.0, round(seconds / 60) * 60)).removesuffix(" 00 s")


def _pairs(rows: list[tuple[str, ...]]) -> str:
    from tuiftune.text import one_line

    width = max(len(row[0]) for row in rows)
    return "\n".join(f"{row[0]:<{width}}  {one_line(' '.join(row[1:]), 400)}" for row in rows)


def _model(found: Facts) -> Block:
    device = found["device"]
    name = device["name"] or "a GPU that is not here"
    checkpointing = ", gradient checkpointing" if found["gradient_checkpointing"] else ""
    rows = f"rows of at most {found['row_tokens']:,} ({found['row_tokens_source']})"
    return (), [
        ("model", f"{found['model']['type']}, {found['model']['parameters']:,} parameters"),
        ("device", f"{name}, {found['precision']}{checkpointing}"),
        ("micro-batch", f"{found['batch_tokens']:,} tokens, {rows}"),
    ]


def _memory(found: Facts) -> Block:
    memory = found["memory"]
    rows = [(part, units.size(memory[f"{part}_bytes"]), memory["method"]) for part in PARTS]
    rows += [(each["name"], units.size(each["bytes"]), each["source"]) for each in memory["overheads"]]
    return ("MEMORY", "SIZE>", "HOW KNOWN"), [*rows, ("together", units.size(memory["total_bytes"]), "")]


def _fit(found: Facts) -> Block:
    device = found["device"]
    verdict = "fits" if found["fits"] else "does not fit"
    most = found["largest_batch_tokens"]
    budget = "none: not even one row fits"
    if most is not None:
        budget = f"train.batch_tokens = {most} ({units.size(found['largest_memory']['total_bytes'])})"
    return (), [
        ("verdict", f"{verdict}: {units.size(device['available_bytes'])} of {device['source']}"),
        ("largest micro-batch", budget),
    ]


def _steps(found: Facts) -> Block:
    needs_data = f"needs the data: {found['data_problem']}"
    samples = found["samples_per_step"]
    rows: list[tuple[str, ...]] = [
        ("samples a step", units.count(samples) if samples is not None else "as train.tokens_per_step says")
    ]
    if found["data_problem"] is not None:
        rows.append(("tokens, steps, time", needs_data))
    else:
        rows.append(("tokens a step", f"{found['tokens_per_step']:,.0f} on average"))
        rows.append(("steps", f"{found['steps_per_epoch']:,} an epoch, {found['total_steps']:,} in all"))
    speed = found["tokens_per_s"]
    rows.append(
        ("speed", f"{units.figure(speed)} tokens/s" if speed else "unknown", f"({found['tokens_per_s_source']})")
    )
    if found["data_problem"] is None:
        seconds = found["seconds_per_epoch"]
        rows.append(("time an epoch", f"about {units.duration(seconds)}, an estimate" if seconds else "unknown"))
    return (), rows
