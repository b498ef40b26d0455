"""python -m tuiftune.training.play, as the dashboard talks to it."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
import torch

from tuiftune.errors import NoMemory, StageError
from tuiftune.run.models import Source
from tuiftune.sampling import Sampling
from tuiftune.training import sources
from tuiftune.training.generate import answer, main


class Worker:
    """The process, a JSON line each way."""

    def __init__(self, interpreter: str) -> None:
        command = [interpreter, "-P", "-m", "tuiftune.training.play"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._number = 0

    def send(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self, *asks: tuple[str, Source], seed: int = 7, **sampling: float) -> int:
        self._number += 1
        request = {
            "id": self._number,
            "prompt": "Once upon a time",
            "asks": [{"who": who, "source": source.to_json()} for who, source in asks],
            "sampling": {"max_new_tokens": 12, **sampling},
            "seed": seed,
            "device": "cpu",
        }
        self.send(json.dumps(request))
        return self._number

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def hear_all(self, number: int) -> list[dict[str, Any]]:
        """What it says about a request, to its end."""
        found = []
        while (event := self.hear()) != {"event": "over", "id": number}:
            found.append(event)
        return found


@pytest.fixture
def worker(interpreter: str) -> Any:
    worker = Worker(interpreter)
    yield worker
    worker.process.kill()
    worker.process.wait()
    for stream in (worker.process.stdin, worker.process.stdout):
        stream.close()


def of(events: list[dict[str, Any]], kind: str, who: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == kind and event["who"] == who]


def test_models_of_a_run_answer_as_generate_does_can_be_stopped_and_a_bad_one_is_a_sentence(
    worker: Any, run_with_models: Any, tiny_gpt2: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_with_models
    tuned, base = Source(run.model, run.path), Source(None, run.path)
    worker.send("this is no request")
    assert worker.hear() == {"event": "ready"}

    events = worker.hear_all(worker.ask(("tuned", tuned), ("base", base)))
    for who, source in (("tuned", tuned), ("base", base)):
        model, tokenizer = sources.load(source)
        expected = answer(model, tokenizer, "Once upon a time", Sampling(12), seed=7)
        [done] = of(events, "done", who)
        assert done["text"] == expected.text == "".join(event["text"] for event in of(events, "token", who))
        assert (done["tokens"], done["ended"]) == (12, "length")
        assert done["seconds"] > 0
        [loaded] = of(events, "loaded", who)
        assert (loaded["device"], loaded["note"]) == ("cpu", None)
    assert events[-1]["who"] == "base", "one after the other, the tuned model first"
    main(["--base", "--seed", "7", "--max-new-tokens", "12", "--device", "cpu", str(run.path), "Once upon a time"])
    assert capsys.readouterr().out == f"Once upon a time{of(events, 'done', 'base')[0]['text']}\n"

    events = worker.hear_all(worker.ask(("tuned", tuned), ("base", base), seed=8))
    assert not of(events, "loading", "tuned") + of(events, "loading", "base"), "both are held"

    (run.checkpoints / "step-000010" / "model.safetensors").write_bytes(b"\0" * 100)
    one, two = (Source(run.checkpoints / f"step-0000{step}", run.path) for step in (10, 20))
    events = worker.hear_all(worker.ask(("tuned", one), ("base", two)))
    [problem] = of(events, "error", "tuned")
    assert problem["sentence"].startswith("step-000010: model.safetensors has 100 bytes where")
    assert len(of(events, "done", "base")) == 1, "one that fails leaves the next"
    assert of(worker.hear_all(worker.ask(("tuned", tuned))), "loading", "tuned"), "a third took its place"

    long = Source(tiny_gpt2("long", n_positions=8192))
    number = worker.ask(("tuned", long), ("base", base), max_new_tokens=8000, temperature=0)
    while worker.hear()["event"] != "token":
        pass
    worker.send(json.dumps({"cancel": number}))
    events = worker.hear_all(number)
    assert [event["ended"] for event in of(events, "done", "tuned")] == ["stopped"]
    assert not of(events, "done", "base"), "nor does the next one begin"

    worker.process.stdin.close()
    assert worker.process.wait(10) == 0


def test_a_gpu_without_room_is_said_and_the_cpu_taken_or_offered(
    tiny_gpt2: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = sources.load(Source(tiny_gpt2()))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert sources.put(model, "auto") is None, "there is none to say anything about"
    with pytest.raises(StageError, match=r"no GPU is seen here that torch can use\. Choose 'auto' or 'cpu'"):
        sources.put(model, "cuda")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (2**29, 2**34))
    assert sources.put(model, "cpu") is None
    assert sources.put(model, "auto") == "on the CPU: the GPU has 512.0 MiB free, and 1.0 GiB are wanted"

    def full(device: Any) -> Any:
        if str(device) != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return model

    monkeypatch.setattr(model, "to", full)
    with pytest.raises(NoMemory, match="the GPU has no room for this model or text"):
        sources.put(model, "cuda")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (2**33, 2**34))
    assert "on the CPU: the GPU could not be used: CUDA out of memory" in str(sources.put(model, "auto"))
    assert sources.where(model) == "cpu"
