"""Questions to the process that writes, here a short one in its place, and what is kept of its answers."""

from __future__ import annotations

import json
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tuiftune.run import played
from tuiftune.run.folder import Run
from tuiftune.run.models import Source
from tuiftune.run.played import Played, Text
from tuiftune.run.playing import BASE, TUNED, Ask, Player, Playing, Question
from tuiftune.sampling import Sampling

WRITES = """
import json, sys, os, time
def say(event, **more): print(json.dumps({"event": event, **more}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if "cancel" in asked:
        continue
    for ask in asked["asks"]:
        about = {"id": asked["id"], "who": ask["who"]}
        say("loading", **about)
        say("loaded", **about, device="cpu", note=None)
        for letter in "abc" * (100 if asked["prompt"] == "burst" else 1):
            say("token", **about, text=letter)
        if asked["prompt"] == "hang":
            time.sleep(60)
        if asked["prompt"] == "crash":
            print("the last words", file=sys.stderr, flush=True)
            os._exit(3)
        if asked["prompt"] == "kill":
            os.kill(os.getpid(), 9)
        say("done", **about, text="abc", tokens=3, seconds=0.5, ended="length")
    say("over", id=asked["id"])
"""


class Seen:
    """What a player posts; `wait` for the moment that a condition holds."""

    def __init__(self) -> None:
        self.all: list[Playing] = []
        self._news = threading.Condition()

    def __call__(self, playing: Playing) -> None:
        with self._news:
            self.all.append(playing)
            self._news.notify_all()

    def wait(self, condition: Callable[[Playing], bool]) -> Playing:
        with self._news:
            assert self._news.wait_for(lambda: bool(self.all) and condition(self.all[-1]), 20), self.all[-1:]
            return self.all[-1]


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def player(seen: Seen) -> Iterator[Player]:
    player = Player(seen, [sys.executable, "-c", WRITES])
    yield player
    player.close()


def question(prompt: str, run: Run | None = None) -> Question:
    asks = [Ask(TUNED, Source(Path("/x")), "step 20"), Ask(BASE, Source(Path("/y")), "gpt2")]
    return Question(prompt, asks, Sampling(3), seed=5, run=run)


def test_answers_come_whole_stopped_ones_stay_and_a_process_that_ends_is_a_sentence_and_replaced(
    player: Player, seen: Seen, tmp_path: Path
) -> None:
    run = Run(tmp_path)
    player.ask(question("Once", run))
    over = seen.wait(lambda playing: playing.over)
    assert [(who, one.state, one.text, one.tokens) for who, one in over.answers.items()] == [
        (TUNED, "done", "abc", 3),
        (BASE, "done", "abc", 3),
    ]
    assert [one.prompt for one in played.read(run)] == ["Once"]

    seen.all.clear()
    player.ask(question("burst"))
    seen.wait(lambda playing: playing.over)
    assert len(seen.all) < 20, "of 600 tokens at once not each is shown"

    player.ask(question("hang", run))
    seen.wait(lambda playing: playing.answers[TUNED].state == "writing")
    player.cancel()
    over = seen.wait(lambda playing: playing.over)
    assert (over.answers[TUNED].state, over.answers[TUNED].ended) == ("done", "stopped")
    assert over.answers[BASE].state == "stopped"
    kept = played.read(run)[-1]
    assert (kept.prompt, kept.seed, list(kept.texts), kept.texts[TUNED].ended) == ("hang", 5, [TUNED], "stopped")
    player.close()
    assert not player.has_process

    for prompt, sentence in (
        ("crash", "the process that writes ended with status 3: the last words"),
        ("kill", "the process that writes was killed; where memory is short the kernel does that"),
    ):
        player.ask(question(prompt))
        over = seen.wait(lambda playing: playing.over)
        assert {one.problem for one in over.answers.values()} == {sentence}
    player.ask(question("again"))
    assert seen.wait(lambda playing: playing.over).answers[BASE].text == "abc"

    (tmp_path / "playground.jsonl").unlink()
    (tmp_path / "playground.jsonl").mkdir()
    player.ask(question("nowhere to keep it", run))
    assert "what was written is not kept" in seen.wait(lambda playing: playing.over).problem


def test_history_is_the_owners_alone_bounded_and_read_past_a_torn_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path)

    def one(number: int) -> Played:
        text = Text("final model", f"{number} é", 2, 0.5, "end", "cpu")
        return Played(time.time(), "Once", Sampling(3), number, {TUNED: text})

    played.keep(run, one(1))
    place = tmp_path / "playground.jsonl"
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    monkeypatch.setattr(played, "LARGEST_BYTES", 10 * place.stat().st_size)
    with place.open("a") as file:
        file.write('[]\n{"time": 1, "prompt"')
    for number in range(2, 40):
        played.keep(run, one(number))
    found = played.read(run)
    assert place.stat().st_size <= played.LARGEST_BYTES
    assert [each.seed for each in found] == list(range(40 - len(found), 40))
    assert len(found) > 3
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert found[-1].texts[TUNED].text == "39 é"
    assert json.loads(json.dumps(found[-1].to_json()))["sampling"]["max_new_tokens"] == 3
    assert "-- final model: 2 tokens in 0.5 s on cpu, 4 tokens/s: the model ended the text\nOnce39 é" in played.text(
        found[-1]
    )
