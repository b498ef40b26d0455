"""python -m tuiftune.training.play: answer prompts, a JSON line of stdin each, with a JSON line of stdout a token.

In:   {"id": 1, "prompt": "...", "asks": [{"who": "tuned", "source": {"folder": ..., "run": ...}}, ...],
       "sampling": {"max_new_tokens": ...}, "seed": 7, "device": "auto"}      asks are answered in turn
      {"cancel": 1}                                                          also while it writes
Out:  {"event": "ready"}; then, each with "id" and "who": "loading"; "loaded" with device, note and seconds; "token"
      with text; "done" with text, tokens, seconds and ended; "error" with kind and sentence. {"event": "over", "id"}
      ends the answers to a request.

It ends when stdin does, and after a while without a request, which gives its memory back.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import sys
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from tuiftune.errors import TuiftuneError
from tuiftune.run.failure import GPU_LOST, OOM, kind_of
from tuiftune.run.models import Source
from tuiftune.sampling import Sampling
from tuiftune.text import brief

MOST_LOADED = 2
"""Models held at a time: a run's and the one that it started from."""
IDLE_S = 600.0
NICENESS = 10
"""A training on the same processors goes first."""


class Player:
    """Loads models when they are asked for and keeps the last ones."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._loaded: OrderedDict[tuple[Any, ...], tuple[Any, Any, str | None]] = OrderedDict()
        """Model, tokenizer and why it is where it is, the one used last at the end."""
        self.cancelled = 0
        """Requests up to this one are wanted no longer."""

    def say(self, event: str, **more: Any) -> None:
        self._out.write(json.dumps({"event": event, **more}) + "\n")
        self._out.flush()

    def answer(self, request: dict[str, Any]) -> None:
        """All asks of a request, one after the other; an error of one leaves the next."""
        number = int(request["id"])
        for ask in request["asks"]:
            about = {"id": number, "who": str(ask["who"])}
            if self.cancelled >= number:
                break
            try:
                self._answer(request, Source.from_json(ask["source"]), about)
            except Exception as error:
                self._failed(error, about)
        self.say("over", id=number)

    def _answer(self, request: dict[str, Any], source: Source, about: dict[str, Any]) -> None:
        from tuiftune.training import sources
        from tuiftune.training.generate import answer

        number = about["id"]
        model, tokenizer, note = self._model(source, request.get("device", "auto"), about)
        if self.cancelled >= number:
            return
        self.say("loaded", **about, device=sources.where(model), note=note)
        start = time.perf_counter()

        def show(text: str) -> None:
            if text:
                self.say("token", **about, text=text)

        written = answer(
            model,
            tokenizer,
            request["prompt"],
            Sampling(**request["sampling"]),
            request.get("seed"),
            show,
            stopped=lambda: self.cancelled >= number,
        )
        seconds = time.perf_counter() - start
        self.say("done", **about, text=written.text, tokens=written.tokens, ended=written.ended, seconds=seconds)

    def _model(self, source: Source, device: str, about: dict[str, Any]) -> tuple[Any, Any, str | None]:
        from tuiftune.training import sources

        key = (source, device, _stamp(source.folder))
        if key in self._loaded:
            self._loaded.move_to_end(key)
            return self._loaded[key]
        self.say("loading", **about)
        while len(self._loaded) >= MOST_LOADED:
            self._forget(next(iter(self._loaded)))
        model, tokenizer = sources.load(source)
        try:
            note = sources.put(model, device)  # type: ignore[arg-type]
        except TuiftuneError as error:
            if kind_of(error) != OOM or not self._loaded:
                raise
            self.forget_all()  # the other model has the room
            note = sources.put(model, device)  # type: ignore[arg-type]
        self._loaded[key] = (model, tokenizer, note)
        return self._loaded[key]

    def _forget(self, key: tuple[Any, ...]) -> None:
        del self._loaded[key]
        _give_back()

    def forget_all(self) -> None:
        self._loaded.clear()
        _give_back()

    def _failed(self, error: Exception, about: dict[str, Any]) -> None:
        kind = kind_of(error)
        if isinstance(error, TuiftuneError):
            sentence = str(error)
        elif kind == OOM:
            from tuiftune.training import sources

            sentence = str(sources.no_memory())
        else:
            traceback.print_exception(error)
            sentence = f"{type(error).__name__}: {brief(error)}"
        if kind == OOM:
            self.forget_all()
        self.say("error", **about, kind=kind, sentence=sentence)
        if kind == GPU_LOST or "CUDA error" in str(error):  # nothing can be done on the GPU in this process any more
            self.say("over", id=about["id"])
            os._exit(1)


def _stamp(folder: Path | None) -> int:
    """Changes where the weights in a folder do: a run that goes on writes its final model anew."""
    return max((file.stat().st_mtime_ns for file in folder.glob("*.safetensors")), default=0) if folder else 0


def _give_back() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _listen(lines: IO[bytes], player: Player, requests: queue.SimpleQueue[dict[str, Any]]) -> None:
    """In a thread: hear a cancel while an answer is written, and end with whoever asks."""
    for line in lines:
        try:
            data = json.loads(line)
            if "cancel" in data:
                player.cancelled = max(player.cancelled, int(data["cancel"]))
            else:
                requests.put(data)
        except (ValueError, TypeError) as error:
            print(f"no request: {error}", file=sys.stderr)
    os._exit(0)  # there is nothing to save, and a model that is being loaded would take its time


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tuiftune.training.play", description=__doc__)
    parser.add_argument("--idle-s", type=float, default=IDLE_S, help="end after so long without a request")
    idle_s = parser.parse_args(arguments).idle_s
    os.nice(NICENESS)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    player, requests = Player(out), queue.SimpleQueue[dict[str, Any]]()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, player, requests), daemon=True).start()
    from tuiftune.training.generate import silence

    silence()
    player.say("ready")
    while True:
        try:
            request = requests.get(timeout=idle_s)
        except queue.Empty:
            return 0
        player.answer(request)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
