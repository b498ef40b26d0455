"""Every test has a home, a data folder and a current folder of its own; nothing reaches a hub."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyte
import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is loaded; see worker_environment
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a background job's; the programs under test must hear Ctrl+C
    signal.signal(signal.SIGINT, signal.default_int_handler)
REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def nothing_ends_at_a_logout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs that say so, whatever systemd makes of the developer's own session: else each start has a warning."""
    programs = tmp_path_factory.mktemp("systemd")
    for name, answer in (("busctl", "b false\nas 0\nas 0"), ("loginctl", "Linger=yes")):
        (programs / name).write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\n")
        (programs / name).chmod(0o755)
    return programs


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_ends_at_a_logout: Path) -> Path:
    """Keep the developer's own profiles, plugins and caches out, and the network too."""
    monkeypatch.setenv("PATH", f"{nothing_ends_at_a_logout}:{os.environ['PATH']}")
    home = tmp_path / "home"
    home.mkdir()
    for name in list(os.environ):
        if name.startswith(("TUIFTUNE_", "HF_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TUIFTUNE_NO_PLANS", "1")  # seconds of CPU for each highlighted profile
    monkeypatch.setenv("TUIFTUNE_TRUSTED_FOLDERS", str(REPOSITORY))  # it may belong to another than who tests it
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")])))
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    monkeypatch.chdir(home)
    return home


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """An empty workspace."""
    folder = tmp_path / "workspace"
    for name in ("profiles", "plugins"):
        (folder / name).mkdir(parents=True)
    return folder


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout under test."""
    return REPOSITORY


@pytest.fixture
def command_line(workspace: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`tuiftune ARGUMENTS` in the workspace."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "tuiftune.cli", *arguments],
            cwd=workspace,
            capture_output=True,
            text=True,
            timeout=360,
        )

    return call


@pytest.fixture(scope="session")
def interpreter() -> str:
    return sys.executable


class Terminal:
    """A program in a pseudo-terminal, and the screen a person would see."""

    def __init__(
        self, arguments: Sequence[str], cwd: Path, columns: int = 80, rows: int = 24, **environment: str
    ) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = bytearray()
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            # All of it: where this process has loaded readline, its C environment has COLUMNS and LINES too.
            inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
            everything = {**inherited, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **environment}
            os.execve(arguments[0], arguments, everything)  # noqa: S606
        self._lock = threading.Lock()
        self._hung_up = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while not self._hung_up:
            # A read that waits would keep the terminal open after its closing.
            if not select.select([self._master], [], [], 0.05)[0]:
                continue
            try:
                data = os.read(self._master, 65536)
            except OSError:
                return
            if not data:
                return
            with self._lock:
                self.raw += data
                self._stream.feed(data)

    def text(self) -> str:
        """What stands on the screen."""
        with self._lock:
            return "\n".join(line.rstrip() for line in self.screen.display)

    def resize(self, columns: int, rows: int) -> None:
        """As a window that is dragged: the program is told with SIGWINCH."""
        with self._lock:
            self.screen.resize(rows, columns)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def wait_for(self, *words: str, deadline_s: float = 60) -> str:
        """Wait until all `words` stand on the screen and return it."""
        end = time.monotonic() + deadline_s
        while time.monotonic() < end:
            seen = self.text()
            if all(word in seen for word in words):
                return seen
            time.sleep(0.05)
        raise AssertionError(f"{words} not on the screen within {deadline_s} s:\n{self.text()}")

    def hang_up(self) -> None:
        """Close the terminal, as a lost connection does."""
        self._hung_up = True
        self._reader.join()
        os.close(self._master)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, deadline_s: float = 30) -> int:
        """The exit status; negative for a signal."""
        end = time.monotonic() + deadline_s
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.05)
        raise AssertionError(f"still running after {deadline_s} s:\n{self.text()}")


@pytest.fixture
def open_terminal() -> Iterator[Callable[..., Terminal]]:
    """Open programs in pseudo-terminals; those still there at the end are killed."""
    opened: list[Terminal] = []

    def start(arguments: Sequence[str], cwd: Path, columns: int = 80, rows: int = 24, **environment: str) -> Terminal:
        opened.append(Terminal(arguments, cwd, columns, rows, **environment))
        return opened[-1]

    yield start
    for terminal in opened:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(terminal.pid, signal.SIGKILL)
            os.waitpid(terminal.pid, 0)


@pytest.fixture(scope="session")
def nvml_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a libnvidia-ml.so.1 that reads its hardware from a file (tests/fake_nvml/fake_nvml.c)."""
    folder = tmp_path_factory.mktemp("nvml")
    source = REPOSITORY / "tests" / "fake_nvml" / "fake_nvml.c"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", folder / "libnvidia-ml.so.1", source], check=True
    )
    return folder


class FakeGpus:
    """The hardware that the real pynvml sees in child processes; change it while they run."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self.set({})

    def set(self, values: dict[str, str | int | bytes]) -> None:
        """The keys are explained in fake_nvml.c: {'count': 2, 'gpu0.temp': 71, 'gpu1.error': 15}."""
        text = b"".join(
            key.encode() + b" " + (value if isinstance(value, bytes) else str(value).encode()) + b"\n"
            for key, value in values.items()
        )
        aside = self._state.with_suffix(".tmp")
        aside.write_bytes(text)
        aside.rename(self._state)


@pytest.fixture
def fake_gpus(nvml_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeGpus:
    """Child processes started by this test find these GPUs: one, until `set` says otherwise."""
    state = tmp_path / "nvml-state"
    folders = [str(nvml_folder), os.environ.get("LD_LIBRARY_PATH")]
    monkeypatch.setenv("LD_LIBRARY_PATH", os.pathsep.join(filter(None, folders)))
    monkeypatch.setenv("FAKE_NVML_STATE", str(state))
    return FakeGpus(state)


@pytest.fixture
def context_for(workspace: Path, tmp_path: Path) -> Callable[..., Any]:
    """Make the Context of a stage of a kind, in the run folder of a name; its recorder is a ListRecorder."""

    def make(kind: str, run: str = "run", **values: Any) -> Any:
        from tuiftune.options import ModelOptions
        from tuiftune.stage import Context
        from tuiftune.testing import ListRecorder

        run_dir = tmp_path / run
        run_dir.mkdir(exist_ok=True)
        values = {"seed": 42, "model": ModelOptions(), "recorder": ListRecorder()} | values
        return Context(
            stage_name="test", kind=kind, index=0, workspace=workspace, dir=run_dir, run_dir=run_dir, **values
        )

    return make


@pytest.fixture
def tokenised() -> Callable[..., Any]:
    """Make a DatasetDict as the tokenize stage leaves it, from the token ids of each row."""

    def make(train: Sequence[Sequence[int]], validation: Sequence[Sequence[int]] = (), **columns: Sequence[Any]) -> Any:
        """`columns` belong to validation where there is one, else to train."""
        import datasets

        def split(rows: Sequence[Sequence[int]], more: Mapping[str, Sequence[Any]]) -> Any:
            kinds = datasets.Features({"input_ids": datasets.List(datasets.Value("int32"))})
            made = datasets.Dataset.from_dict({"input_ids": list(rows)}, features=kinds)
            for name, values in more.items():
                made = made.add_column(name, list(values))
            return made

        return datasets.DatasetDict(
            train=split(train, {} if validation else columns),
            validation=split(validation, columns if validation else {}),
        )

    return make


@pytest.fixture
def tiny_gpt2(tmp_path: Path) -> Callable[..., Path]:
    """Make the folder of a 2-layer GPT-2 with random weights and the quickstart's tokenizer, whose pad is its EOS."""

    def make(name: str = "tiny-gpt2", **config: Any) -> Path:
        import torch
        import transformers

        from tuiftune.paths import assets

        values = {
            "n_layer": 2,
            "n_embd": 32,
            "n_head": 2,
            "n_positions": 64,
            "vocab_size": 105,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "initializer_range": 0.2,
        } | config
        torch.manual_seed(7)
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**values))
        model.save_pretrained(tmp_path / name)
        transformers.AutoTokenizer.from_pretrained(assets() / "babyllama-105").save_pretrained(tmp_path / name)
        return tmp_path / name

    return make


@pytest.fixture
def run_with_models(workspace: Path, tiny_gpt2: Callable[..., Path]) -> Any:
    """A finished run of a tiny model that began as the quickstart's: checkpoints of steps 10 and 20, 20 the best."""
    from tuiftune.run.checkpoints import publish
    from tuiftune.run.folder import State, create, write_state
    from tuiftune.run.metrics_db import MetricsWriter

    effective = {
        "seed": 3,
        "model": {"name": "tuiftune:babyllama-105", "init": "pretrained", "config": {}},
        "train": {"stage": "causal_lm"},
    }
    run = create(workspace, "tiny", effective, {"profile": "tiny"})
    made = tiny_gpt2("tuned")
    shutil.copytree(made, run.model)
    for step in (10, 20):
        aside = run.checkpoints / ".unsealed"
        shutil.copytree(made, aside)
        publish(aside, run.checkpoints, step)
    metrics = MetricsWriter(run.metrics_file)
    for step, loss in ((0, 4.0), (10, 2.5), (20, 1.5), (30, 1.75)):
        metrics.metric(step, {"eval/loss": loss}, time.time())
    metrics.fact({"model_step": 30})
    metrics.close()
    write_state(run, State("finished", since=time.time(), started=time.time() - 60, ended=time.time()))
    return run
