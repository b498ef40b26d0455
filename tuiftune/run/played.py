"""What was asked in the playground and what the models answered, kept with the run."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tuiftune import units
from tuiftune.errors import TuiftuneError
from tuiftune.run.files import write_text
from tuiftune.run.folder import Run
from tuiftune.sampling import Sampling

LARGEST_BYTES = 2 << 20
"""Beyond it the older half is dropped."""
ENDED = {
    "end": "the model ended the text",
    "length": "as many tokens as asked for",
    "limit": "as many tokens as the model takes",
    "stopped": "stopped",
}


@dataclass(frozen=True)
class Text:
    """What one model wrote."""

    model: str
    """'final model', 'step 200', 'gpt2'."""
    text: str
    tokens: int
    seconds: float
    ended: str
    """A word of ENDED."""
    device: str


@dataclass(frozen=True)
class Played:
    """One prompt, and what the models wrote after it."""

    time: float
    """Seconds since the epoch."""
    prompt: str
    sampling: Sampling
    seed: int
    texts: Mapping[str, Text]
    """'tuned', 'base'."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Played:
        """Raises KeyError, TypeError, ValueError or AttributeError where it is none."""
        texts = {
            str(who): Text(**{each.name: text[each.name] for each in fields(Text)})
            for who, text in data["texts"].items()
        }
        sampling = Sampling(**{each.name: data["sampling"][each.name] for each in fields(Sampling)})
        return cls(float(data["time"]), str(data["prompt"]), sampling, int(data["seed"]), texts)


def file_of(run: Run) -> Path:
    return run.path / "playground.jsonl"


def read(run: Run) -> list[Played]:
    """All that is kept, the oldest first; a line that was cut short is passed over. Raises TuiftuneError."""
    found: list[Played] = []
    path = file_of(run)
    try:
        with path.open("rb") as file:
            data = file.read(2 * LARGEST_BYTES)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise TuiftuneError(f"{path}: cannot be read: {error.strerror}") from error
    for line in data.splitlines():
        with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
            found.append(Played.from_json(json.loads(line)))
    return found


def keep(run: Run, played: Played) -> None:
    """Add one, readable by the owner alone. Raises TuiftuneError where it cannot be written."""
    line = json.dumps(played.to_json()).encode() + b"\n"
    try:
        with _locked(file_of(run)) as descriptor:
            size = os.fstat(descriptor).st_size
            if size + len(line) <= LARGEST_BYTES:
                torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"  # by a crash while it was written
                os.write(descriptor, b"\n" * torn + line)
                return
            lines = file_of(run).read_bytes().splitlines(keepends=True)
            newer = [*lines[len(lines) // 2 :], line]
            write_text(file_of(run), b"".join(newer).decode("utf-8", "replace"))
    except OSError as error:
        raise TuiftuneError(f"{file_of(run)}: what was written is not kept: {error.strerror}") from error


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The file, open at its end and this process's alone: two dashboards may look at one run."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_ino == path.stat().st_ino:  # else another put a shorter one in its place
                yield descriptor
                return
        finally:
            os.close(descriptor)


def text(played: Played) -> str:
    """As `tuiftune generate RUN --history` prints it."""
    sampling = played.sampling
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(played.time))
    lines = [
        f"{when}  seed {played.seed}  max-new-tokens {sampling.max_new_tokens}  temperature {sampling.temperature:g}"
        f"  top-k {sampling.top_k}  top-p {sampling.top_p:g}"
    ]
    for one in played.texts.values():
        lines += [f"-- {one.model}: {figures(one)}", f"{played.prompt}{one.text}"]
    return "\n".join(lines)


def figures(text: Text) -> str:
    """`100 tokens in 2.1 s on cpu, 48 tokens/s: the model ended the text`."""
    speed = f", {units.figure(text.tokens / text.seconds)} tokens/s" if text.seconds > 0 else ""
    count = f"{text.tokens:,} token{'' if text.tokens == 1 else 's'}"
    return f"{count} in {units.duration(text.seconds)} on {text.device}{speed}: {ENDED.get(text.ended, text.ended)}"
