"""Ask the process that writes texts (tuiftune.training.play), hear its tokens, and keep what came of it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import IO, Any, cast

from tuiftune.errors import TuiftuneError
from tuiftune.run import played
from tuiftune.run.folder import Run
from tuiftune.run.models import Source
from tuiftune.run.process import python, signal_text
from tuiftune.sampling import Sampling
from tuiftune.text import one_line

POST_EVERY_S = 0.2
"""Tokens are shown so often, at most."""
DEVICES = ("auto", "cpu", "cuda")
KILLED = -9
TUNED, BASE = "tuned", "base"


@dataclass(frozen=True)
class Ask:
    """One model that is to answer."""

    who: str
    """TUNED or BASE."""
    source: Source
    model: str
    """What it is called: 'final model', 'step 200', 'gpt2'."""


@dataclass(frozen=True)
class Question:
    """A prompt for one or two models."""

    prompt: str
    asks: Sequence[Ask]
    """In the order in which they answer."""
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    device: str = "auto"
    run: Run | None = None
    """Where it is kept; None: nowhere."""


@dataclass(frozen=True)
class Answer:
    """What a model has written so far."""

    model: str
    state: str = "waiting"
    """Then 'loading', 'writing', 'done'; or 'failed', and 'stopped' before it wrote."""
    text: str = ""
    tokens: int = 0
    """Of one that is done; while it writes, the pieces of text that came."""
    seconds: float = 0.0
    ended: str = ""
    """Of one that is done: a word of played.ENDED."""
    device: str = ""
    note: str = ""
    """Why it is on the CPU, where there is a GPU."""
    problem: str = ""
    """Why it failed, as a sentence."""


@dataclass(frozen=True)
class Playing:
    """A question and how far its answers are."""

    question: Question
    answers: Mapping[str, Answer]
    over: bool = False
    kept: played.Played | None = None
    """What was added to the run's history."""
    problem: str = ""
    """Why it could not be kept."""


class Player:
    """Starts the process with the first question and ends it; what it hears is posted from a thread."""

    def __init__(self, post: Callable[[Playing], object], command: Sequence[str] = ()) -> None:
        self._post = post
        self._command = list(command) or python("-m", "tuiftune.training.play")
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._number = 0
        self._playing: Playing | None = None
        self._posted = 0.0

    @property
    def is_writing(self) -> bool:
        playing = self._playing
        return playing is not None and not playing.over

    @property
    def has_process(self) -> bool:
        """Whether there is one, which holds the memory of its models."""
        child = self._child
        return child is not None and child.poll() is None

    def ask(self, question: Question) -> None:
        """Ask, in place of what is being answered. May wait for a process to start: for a thread."""
        self.cancel()
        with self._lock:
            self._number += 1
            answers = {ask.who: Answer(ask.model) for ask in question.asks}
            self._show(Playing(question, answers))
            request = {
                "id": self._number,
                "prompt": question.prompt,
                "asks": [{"who": ask.who, "source": ask.source.to_json()} for ask in question.asks],
                "sampling": asdict(question.sampling),
                "seed": question.seed,
                "device": question.device,
            }
            try:
                if self.has_process:
                    with suppress(OSError):  # it was about to end: it had waited long enough
                        self._send(request)
                        return
                self._start()
                self._send(request)
            except OSError as error:
                self._fail(f"the process that writes could not be started: {error.strerror}")

    def cancel(self) -> None:
        """Stop what is being written; what there is of it is kept."""
        with self._lock:
            if self._playing is None or self._playing.over:
                return
            try:
                self._send({"cancel": self._number})
            except OSError:  # it has just ended, and the thread that hears it says so
                return
            self._end(stopped=True)

    def close(self) -> None:
        """End the process, at once: the memory of its models is free."""
        self.cancel()
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()

    # With the lock held.

    def _start(self) -> None:
        environment = {
            "OMP_WAIT_POLICY": "PASSIVE",  # see run.worker_start: a training beside it is not held up by spinning
            "TOKENIZERS_PARALLELISM": "false",
            **os.environ,
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        }
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - the reading thread's, to its end
        self._child = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            start_new_session=True,  # a Ctrl+C in the terminal is not meant for it
        )
        threading.Thread(target=self._hear, args=(self._child, errors), name="playing", daemon=True).start()

    def _send(self, data: dict[str, Any]) -> None:
        if self._child is None:
            return
        pipe = cast("IO[bytes]", self._child.stdin)
        pipe.write(json.dumps(data).encode() + b"\n")
        pipe.flush()

    def _show(self, playing: Playing, at_once: bool = True) -> None:
        self._playing = playing
        now = time.monotonic()
        if at_once or now - self._posted >= POST_EVERY_S:
            self._posted = now
            self._post(playing)

    def _end(self, stopped: bool = False) -> None:
        """Nothing more comes of this question."""
        playing = self._playing
        if playing is None or playing.over:
            return
        answers = dict(playing.answers)
        for who, answer in answers.items():
            if answer.state in ("waiting", "loading", "writing"):
                wrote = stopped and answer.state == "writing"
                answers[who] = replace(answer, state="done" if wrote else "stopped", ended="stopped")
        playing = replace(playing, answers=answers, over=True)
        run, kept, problem = playing.question.run, as_played(playing), ""
        if run is not None and kept.texts:
            try:
                played.keep(run, kept)
            except TuiftuneError as error:
                problem = str(error)
        written = run is not None and bool(kept.texts) and not problem
        self._show(replace(playing, kept=kept if written else None, problem=problem))

    def _fail(self, sentence: str) -> None:
        if self._playing is None or self._playing.over:
            return
        answers = {
            who: answer if answer.state in ("done", "failed") else replace(answer, state="failed", problem=sentence)
            for who, answer in self._playing.answers.items()
        }
        self._playing = replace(self._playing, answers=answers)
        self._end()

    # In the thread that listens.

    def _hear(self, child: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        with cast("IO[bytes]", child.stdout) as lines:
            for line in lines:
                try:
                    event = json.loads(line)
                except ValueError:  # cut off by its end
                    continue
                with self._lock:
                    if child is self._child and event.get("id") == self._number:
                        self._take(event)
        status = child.wait()
        cast("IO[bytes]", child.stdin).close()
        with errors, self._lock:
            if child is self._child:
                self._child = None
                self._fail(_why_ended(status, errors))

    def _take(self, event: dict[str, Any]) -> None:
        playing, kind = self._playing, event["event"]
        if playing is None or playing.over:
            return
        if kind == "over":
            self._end()
            return
        who = str(event["who"])
        answer = playing.answers[who]
        if kind == "loading":
            answer = replace(answer, state="loading")
        elif kind == "loaded":
            answer = replace(answer, state="writing", device=event["device"], note=event["note"] or "")
            self._began = time.monotonic()
        elif kind == "token":
            seconds = time.monotonic() - self._began
            answer = replace(answer, text=answer.text + event["text"], tokens=answer.tokens + 1, seconds=seconds)
        elif kind == "done":
            figures = {name: event[name] for name in ("text", "tokens", "seconds", "ended")}
            answer = replace(answer, state="done", **figures)
        elif kind == "error":
            answer = replace(answer, state="failed", problem=str(event["sentence"]))
        self._show(replace(playing, answers={**playing.answers, who: answer}), at_once=kind != "token")


def as_played(playing: Playing) -> played.Played:
    """What is kept of it: the models that wrote."""
    question = playing.question
    texts = {
        who: played.Text(
            answer.model, answer.text, answer.tokens, round(answer.seconds, 3), answer.ended, answer.device
        )
        for who, answer in playing.answers.items()
        if answer.state == "done"
    }
    return played.Played(time.time(), question.prompt, question.sampling, question.seed, texts)


def _why_ended(status: int, errors: IO[bytes]) -> str:
    errors.seek(0, os.SEEK_END)
    errors.seek(max(0, errors.tell() - 4096))
    said = errors.read().decode("utf-8", "replace").strip().splitlines()
    last = f": {one_line(said[-1], 200)}" if said else ""
    if status == KILLED:
        return "the process that writes was killed; where memory is short the kernel does that"
    how = f"by {signal_text(-status)}" if status < 0 else f"with status {status}"
    return f"the process that writes ended {how}{last}"
