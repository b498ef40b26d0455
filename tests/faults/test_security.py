"""A box shared with others: what they may not read, write or run, and text that steers no terminal."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuiftune import secrets, trust
from tuiftune.errors import TuiftuneError
from tuiftune.run import folder, log_rotation, requests
from tuiftune.run.files import read_json
from tuiftune.run.folder import Run, State

InState = Callable[..., State]
Started = Callable[..., Run]
Profile = Callable[..., str]

PLUGIN = """
import os, sys
import tuiftune


class Chatty(tuiftune.DatasetLoader):
    {doc}

    name = "chatty"

    def run(self, ctx):
        {body}
        yield from (f"line {{n}} of {text}" for n in range(40))


@tuiftune.hookimpl
def register_stages():
    return [Chatty]
"""
CHATTY = '[dataset]\nstage = "chatty"\n[train]\nstage = "demo"\nsteps = 3\nseconds_per_step = 0\n'


def plugin(workspace: Path, body: str = "pass", doc: str = '"""Talks."""', text: str = "text") -> Path:
    (workspace / "profiles" / "chatty.toml").write_text(CHATTY)
    file = workspace / "plugins" / "chatty.py"
    file.write_text(PLUGIN.replace("{doc}", doc).replace("{body}", body).replace("{text}", text))
    return file


# ---- plugins that somebody else could have written


def test_a_plugin_that_others_can_write_is_refused_as_ssh_refuses_a_loose_key(
    workspace: Path, command_line: Callable[..., Any]
) -> None:
    file = plugin(workspace)
    assert "chatty" in command_line("plugins").stdout
    for loose, mode in ((file, 0o666), (file.parent, 0o777), (workspace, 0o1777)):
        before = loose.stat().st_mode & 0o7777
        loose.chmod(mode)
        refused, told = command_line("check", "chatty"), command_line("plugins", "--json")
        loose.chmod(before)
        if mode == 0o1777 and os.getuid() == 0:
            assert refused.returncode == 0, "a sticky folder of root's, as /tmp is"
            continue
        assert refused.returncode == 2
        assert "no dataset stage 'chatty'" in refused.stderr
        (problem,) = [one["problem"] for one in json.loads(told.stdout) if one["name"] == "chatty"]
        assert problem == (
            f"plugins/chatty.py: plugin 'chatty': not loaded: {loose} can be written by everybody. "
            f"Mend it with: chmod o-w,g-w {loose}"
        )
    assert command_line("check", "chatty").returncode == 0


def test_where_a_link_leads_is_looked_at_too_and_a_person_can_say_that_it_is_all_right(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    elsewhere.chmod(0o777)
    (elsewhere / "code.py").write_text("x = 1\n")
    link = workspace / "plugins" / "code.py"
    link.symlink_to(elsewhere / "code.py")
    assert trust.fault(link) == (f"{elsewhere} can be written by everybody", f"Mend it with: chmod o-w,g-w {elsewhere}")
    monkeypatch.setenv(trust.TRUSTED, str(elsewhere))
    assert trust.fault(link) is None


def test_a_plugin_of_another_user_is_refused(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, me = plugin(workspace), os.getuid()
    assert trust.fault(file) is None
    if me == 0:
        os.chown(file, 12345, 12345)
    else:  # then it is we who are another
        monkeypatch.setattr(os, "getuid", lambda: me + 1)
    found = trust.fault(file)
    assert found is not None
    assert found[0].startswith(f"{file} belongs to ")
    assert found[0].endswith(", who could write code into it")


# ---- secrets


CANARY = "hf_" + "Canary0123456789abcdefXYZ"
PLAIN = "a-plain-but-secret-password-0815"


def test_a_secret_is_in_no_file_of_a_run(
    workspace: Path, started: Started, in_state: InState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARY)
    monkeypatch.setenv("MY_PASSWORD", PLAIN)
    body = (
        "print('the token is', os.environ['HF_TOKEN']); print(os.environ, file=sys.stderr)\n"
        "        ctx.log('password ' + os.environ['MY_PASSWORD'])\n"
        "        ctx.event('odd', where={'x': [os.environ['HF_TOKEN']]})\n"
        "        raise RuntimeError('refused for ' + os.environ['HF_TOKEN'] + ' and ' + os.environ['MY_PASSWORD'])"
    )
    plugin(workspace, body)
    run = started("chatty", before=("env",))
    state = in_state(run, "failed")
    assert (state.reason or "").count("***") == 2
    assert "the token is ***" in run.worker_log.read_text()
    (workspace / "runs" / "card.txt").write_text(
        subprocess.run(
            [sys.executable, "-P", "-m", "tuiftune.cli", "why", run.id],
            cwd=workspace, capture_output=True, text=True, check=True,
        ).stdout
    )  # fmt: skip
    for file in (workspace / "runs").rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert CANARY.encode() not in content, file
            assert PLAIN.encode() not in content, file


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("token hf_abcdefghijklmnopqrst used", "token *** used"),
        ("https://user:pass-word@host/x", "https://***@host/x"),
        ("sk-abcdefghijklmnopqrstuvwx", "***"),
        ("batch_tokens=512 and hf_short stay", "batch_tokens=512 and hf_short stay"),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, expected: str) -> None:
    assert secrets.masked(text) == expected


def test_a_short_or_ordinary_value_is_no_secret() -> None:
    found = secrets.secret_values({"TOKENIZERS_PARALLELISM": "truetruetrue", "API_KEY": "1", "HF_TOKEN": "12345678"})
    assert found == ("12345678",)


# ---- text that would steer a terminal


EVIL = "\x1b]0;owned\x07\x1b]52;c;b3duZWQ=\x07\x1b[2J\x1b[31m\x9b31m\u202e[@click=app.quit]x[/][/b]"
STEERS = re.compile(rb"\x1b\](?:0|2|52);|\x1b\[2J.*owned|owned\x07|\xc2\x9b|\xe2\x80\xae", re.DOTALL)


@pytest.fixture
def evil(workspace: Path, started: Started, in_state: InState) -> Run:
    """A run in whose every text somebody has put sequences and markup."""
    escaped = EVIL.encode("unicode_escape").decode().replace("'", "")
    body = f"print('log {escaped}'); ctx.log('said {escaped}'); ctx.sample(1, 'prompt {escaped}', 'text {escaped}')"
    plugin(workspace, body, doc=f'"""Talks {escaped}."""', text=escaped)
    description = json.dumps(f"described {EVIL}")
    (workspace / "profiles" / "chatty.toml").write_text(f"description = {description}\n{CHATTY}")
    (workspace / "plugins" / "bad\x1b]0;owned\x07.py").write_text(f"raise ValueError('{escaped}')\n")
    run = started("chatty", "train.steps=200", "train.seconds_per_step=0.02")
    in_state(run, "running")
    return run


def test_no_text_steers_the_dashboards_terminal(
    evil: Run, workspace: Path, open_terminal: Callable[..., Any], until: Callable[..., Any]
) -> None:
    screen = open_terminal([sys.executable, "-P", "-m", "tuiftune.cli"], workspace, 120, 40)
    screen.wait_for(evil.id, "made up at step", "said")
    screen.type("l")
    screen.wait_for("log [@click")
    screen.type("lp")
    screen.wait_for("described")
    screen.type("chatty")
    screen.wait_for("Talks")
    screen.type("\x1b")
    screen.wait_for("type to filter", "gpt2-table")
    screen.type("\x1b")
    screen.wait_for("esc again leaves")
    screen.type("\x1b")
    assert screen.wait() == 0
    found = STEERS.search(bytes(screen.raw).replace(b"\x1b[2J", b"", 3))
    assert found is None, found
    assert b"[@click=app.quit]x[/][/b]" in bytes(screen.raw), "markup is shown as it is written"
    assert "owned" not in screen.screen.title, "of the terminal's window"


def test_no_text_steers_the_command_lines_terminal(
    evil: Run, workspace: Path, open_terminal: Callable[..., Any]
) -> None:
    odd = "a\x1b]0;owned\x07b"
    commands = [
        ("logs", evil.id), ("watch", "--once"), ("plugins",), ("plugins", "chatty"), ("profiles",), ("check",),
        ("runs",), ("show", "chatty"), ("why", evil.id), ("show", odd), ("watch", odd), ("run", odd), (odd,),
        ("metrics", evil.id, "--series", odd), ("stop", "--" + odd),
    ]  # fmt: skip
    script = "; ".join(
        " ".join([sys.executable, "-P", "-m", "tuiftune.cli", *(_quoted(word) for word in words)]) for words in commands
    )
    file = workspace / "script.sh"
    file.write_bytes(f"{script}; echo that was all of them; sleep 1\n".encode())
    screen = open_terminal(["/bin/sh", str(file)], workspace, 200, 60)
    screen.wait_for("that was all of them", deadline_s=120)
    raw = bytes(screen.raw)
    assert STEERS.search(raw) is None, STEERS.search(raw)
    assert "owned" not in screen.screen.title


def _quoted(word: str) -> str:
    return "'" + word + "'"


# ---- names, sizes, pickles, modes


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "..", "a/../../b"])
def test_a_name_cannot_leave_its_folder(workspace: Path, command_line: Callable[..., Any], name: str) -> None:
    (workspace.parent / "outside.toml").write_text('description = "outside"\n')
    for arguments in (("show", name), ("run", name), ("watch", name, "--once"), ("stop", name), ("logs", name)):
        done = command_line(*arguments)
        assert done.returncode == 2, arguments
        assert "outside" not in done.stdout
        assert "Traceback" not in done.stderr


def test_a_link_in_the_runs_folder_is_no_way_out(workspace: Path, command_line: Callable[..., Any]) -> None:
    elsewhere = workspace.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "state.json").write_text('{"state": "finished", "since": 1, "started": 1}')
    (workspace / "runs").mkdir()
    (workspace / "runs" / "linked").symlink_to(elsewhere)
    assert folder.list_runs(workspace) == []
    assert command_line("resume", "linked").returncode == 2


def test_huge_and_deep_files_are_refused_in_a_sentence_and_at_once(
    workspace: Path, command_line: Callable[..., Any], tmp_path: Path
) -> None:
    (workspace / "profiles" / "deep.toml").write_text(".".join(["a"] * 19_500) + " = 1\n")
    (workspace / "profiles" / "large.toml").write_text("# " + "x" * (2 << 20) + "\n")
    done = command_line("check", "deep", "large")
    assert done.returncode == 2
    assert "profiles/deep.toml:1: " in done.stderr
    assert "profiles/large.toml: " in done.stderr
    (tmp_path / "state.json").write_bytes(b" " * 100)
    with pytest.raises(ValueError, match="larger than 99 bytes"):
        read_json(tmp_path / "state.json", 99)


class Bomb:
    """Unpickled, it leaves a file."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self.place}",))


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    from tuiftune.paths import assets
    from tuiftune.training.model import load_folder
    from tuiftune.training.state import read_state

    burst = tmp_path / "burst"
    planted = tmp_path / "model"
    planted.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (planted / name).write_bytes((assets() / "babyllama-105" / name).read_bytes())
    for name in ("pytorch_model.bin", "training.pt", "training_args.bin"):
        (planted / name).write_bytes(pickle.dumps(Bomb(burst)))
    with pytest.raises((TuiftuneError, OSError)):
        load_folder(planted)
    with pytest.raises((RuntimeError, pickle.UnpicklingError)):
        read_state(planted)
    assert not burst.exists()


def test_nothing_in_the_package_unpickles_what_it_did_not_write(repository: Path) -> None:
    for file in (repository / "tuiftune").rglob("*.py"):
        text = file.read_text()
        for call in re.findall(r"torch\.load\([^)]*\)", text):
            assert "weights_only=True" in call, file
        assert not re.search(r"pickle\.loads?\(|joblib|dill\.|trust_remote_code=True", text), file


def test_a_run_is_its_owners_alone_whatever_the_umask(started: Started, profile: Profile, in_state: InState) -> None:
    run = started(profile("demo"), "train.steps=12", before=("sh", "-c", 'umask 000; exec "$@"', "sh"))
    in_state(run, "finished")
    for path in (run.path, run.path.parent, *run.path.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_request_of_another_user_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests.ask(tmp_path, "stop")
    assert len(requests.read(tmp_path)) == 1
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    assert requests.read(tmp_path) == ([] if mine else requests.read(tmp_path))


# ---- a log that floods the disk


def test_a_flood_of_log_does_not_fill_the_disk(
    workspace: Path, started: Started, in_state: InState, command_line: Callable[..., Any]
) -> None:
    body = "[print('x' * 1000, n) for n in range(60_000)]; import time; time.sleep(2.5); print('the last line')"
    plugin(workspace, body)
    run = started("chatty")
    in_state(run, "finished")
    size = sum(path.stat().st_size for path in (run.worker_log, log_rotation.older(run.worker_log)))
    assert size < log_rotation.LIMIT + log_rotation.KEPT
    lines = command_line("logs", run.id).stdout.splitlines()
    assert any(line == "the last line" for line in lines)
    assert f"{'x' * 1000} 59999" in lines, "the newest of what was cut off is kept"
