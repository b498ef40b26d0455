"""Stands for the worker where how a worker behaves is the test: python standin_worker.py BEHAVIOUR DIR."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from tuiftune.run.files import write_json
from tuiftune.run.process import Lock


def end(folder: Path, outcome: str, step: int, sentence: str | None = None, kind: str | None = None) -> None:
    said = {"outcome": outcome, "sentence": sentence, "kind": kind, "step": step, "time": time.time()}
    write_json(folder / "exit.json", said)


def sleep_for_ever(folder: Path, name: str) -> None:
    """A process of the run: says who it is and stays."""
    (folder / name).write_text(str(os.getpid()))
    while True:
        signal.pause()


def have_children(folder: Path) -> None:
    """A data worker, a rank in a session of its own, and a program that has left its parent."""
    if os.fork() == 0:
        sleep_for_ever(folder, "pid.data")
    if os.fork() == 0:
        os.setsid()
        sleep_for_ever(folder, "pid.rank")
    middle = os.fork()
    if middle == 0:
        if os.fork() == 0:
            os.setsid()
            sleep_for_ever(folder, "pid.stray")
        os._exit(0)
    os.waitpid(middle, 0)


def main(behaviour: str, folder: Path) -> int:
    lock = Lock(folder / "worker.lock")
    if not lock.take():
        print("another worker owns this run", file=sys.stderr)
        return 1
    stopping: list[int] = []
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    if behaviour == "with-children":
        have_children(folder)
    keys = (
        "CUDA_DEVICE_ORDER",
        "CUDA_VISIBLE_DEVICES",
        "OMP_WAIT_POLICY",
        "PYTHONUNBUFFERED",
        "TOKENIZERS_PARALLELISM",
    )
    facts = {key: os.environ.get(key) for key in keys} | {"cwd": str(Path.cwd()), "session": os.getsid(0)}
    (folder / "facts.json").write_text(json.dumps(facts))
    print(f"attempt of {behaviour}", flush=True)
    if behaviour == "finish":
        end(folder, "finished", 10)
        return 0
    if behaviour == "fail":
        end(folder, "failed", 0, "dataset stage 'text': data/x.txt: no such file")
        return 1
    if behaviour.startswith("fail-as-"):
        end(folder, "failed", 0, "something is wrong", behaviour.removeprefix("fail-as-"))
        return 1
    if behaviour == "crash":
        print("Traceback ...\nValueError: broken", file=sys.stderr)
        return 1
    (folder / "ready").write_text(str(os.getpid()))
    while True:
        if stopping and behaviour != "stubborn":
            end(folder, "stopped", 7)
            return 3
        if (folder / "finish-now").exists():
            end(folder, "finished", 10)
            return 0
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
