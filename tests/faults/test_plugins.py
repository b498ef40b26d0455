"""Plugins that fail in every way there is: named, isolated, and nothing of them is left; the rest goes on."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tuiftune import plugins
from tuiftune.plugins import load_registry
from tuiftune.run import folder, process, stalling
from tuiftune.run.follow import standing

HOOKED = "import tuiftune\n\n@tuiftune.hookimpl\ndef {hook}:\n    {body}\n"
BROKEN = {
    "a_raises": "import json\n\njson.loads('{')\n",
    "b_syntax": "import tuiftune\ndef oops(:\n",
    "c_exits": "import sys\nsys.exit(3)\n",
    "d_imports": "import no_such_module\n",
    "e_cancels": "import asyncio\nraise asyncio.CancelledError\n",
    "f_prints": "import os\nprint('{' * 1000)\nos.write(1, b'\\x1b[2J')\n",
    "g_hook": HOOKED.format(hook="event_written(event)", body="1 / 0"),
    "h_hook": HOOKED.format(hook="stage_started(ctx)", body="raise SystemExit(4)"),
    "i_hook": HOOKED.format(hook="stage_finished(ctx)", body="raise KeyboardInterrupt"),
}
NOT_LOADED = {
    "a_raises": "plugins/a_raises.py:3: plugin 'a_raises': JSONDecodeError: Expecting property name",
    "b_syntax": "plugins/b_syntax.py:2: plugin 'b_syntax': SyntaxError: invalid syntax",
    "c_exits": "plugins/c_exits.py:2: plugin 'c_exits': it called sys.exit(3)",
    "d_imports": "plugins/d_imports.py:1: plugin 'd_imports': ModuleNotFoundError: No module named 'no_such_module'",
    "e_cancels": "plugins/e_cancels.py:2: plugin 'e_cancels': CancelledError",
}
MUTED = {
    "g_hook": "plugins/g_hook.py:5: plugin 'g_hook': event_written: ZeroDivisionError: division by zero",
    "h_hook": "plugins/h_hook.py:5: plugin 'h_hook': stage_started: it called sys.exit(4)",
    "i_hook": "plugins/i_hook.py:5: plugin 'i_hook': stage_finished: KeyboardInterrupt",
}

ODD = '''\
import ctypes, json, os, signal, subprocess, sys, threading, time
import tuiftune

class Odd(tuiftune.Preprocessor):
    """Does what it is told."""
    name = "odd"

    class Options(tuiftune.Options):
        do: str = tuiftune.Field("nothing", description="what to do")

    def run(self, ctx):
        getattr(self, self.options.do)(ctx)
        return ctx.input

    def raises(self, ctx): return {}["nothing"]
    def library_raises(self, ctx): return json.loads("{")
    def exits(self, ctx): sys.exit("enough")
    def leaves(self, ctx): os._exit(0)
    def crashes(self, ctx): ctypes.string_at(0)
    def hangs(self, ctx):
        (ctx.run_dir / "hangs").touch()
        while True:
            try:
                time.sleep(600)
            except BaseException:
                pass

    def strays(self, ctx):
        """A process that has left its parent, its session and its environment; and a thread that nobody ends."""
        command = "env -i setsid sh -c 'echo $$ > stray; exec sleep 600' &"
        subprocess.run(command, shell=True, cwd=ctx.run_dir)
        threading.Thread(target=time.sleep, args=(600,), name="a thread of odd").start()
        while not (ctx.run_dir / "stray").exists():
            time.sleep(0.01)

@tuiftune.hookimpl
def register_stages():
    return [Odd]
'''
WHERE = "preprocess stage 'odd' (plugin odd)"


@pytest.fixture
def odd(cli: Any) -> Any:
    cli.plugin("odd", ODD)
    cli.profile("odd", middle='[[preprocess]]\nstage = "odd"\n')
    return cli


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(ODD.splitlines(), start=1) if text in line)


def test_plugins_broken_at_import_and_in_hooks_are_named_with_their_line_and_the_run_goes_on(cli: Any) -> None:
    for name, text in BROKEN.items():
        cli.plugin(name, text)
    done, run = cli.run("quick")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert cli.step(run) == 5
    log = run.worker_log.read_text()
    for sentence in NOT_LOADED.values():
        assert log.count(f"not loaded: {sentence}") == 1, log
    told = {data["plugin"]: data["error"] for data in cli.events(run, "plugin_error")}
    assert set(told) == set(MUTED)
    for name, sentence in MUTED.items():
        assert told[name].startswith(sentence)
        assert log.count(sentence) == 1, "a hook that raised is not called again"
    cli.assert_in_order(run)
    listed = {plugin["name"]: plugin["problem"] for plugin in json.loads(cli("plugins", "--json").stdout)}
    for name in BROKEN:
        assert (listed[name] or "").startswith(NOT_LOADED.get(name, ""))
        assert (listed[name] is None) == (name not in NOT_LOADED)


@pytest.mark.parametrize(
    ("body", "how"),
    [
        ("import os; os._exit(7)", "ended with status 7"),
        ("import ctypes; ctypes.string_at(0)", "was ended by signal 11 (SIGSEGV)"),
    ],
    ids=["_exit", "segfault"],
)
def test_a_plugin_that_ends_the_process_at_its_import_is_named_and_said_how_to_do_without(
    cli: Any, body: str, how: str
) -> None:
    cli.plugin("deadly", body)
    done = cli("run", "quick")
    assert done.returncode == 2
    assert done.stderr == (
        f"the process that loads plugin 'deadly' {how}. "
        "Take the plugin out of plugins/, or load only what you need with TUIFTUNE_PLUGINS=a,b\n"
    )
    assert not (cli.workspace / "runs").exists()
    assert cli("run", "quick", env={**os.environ, "TUIFTUNE_PLUGINS": ""}).returncode == 0


def test_a_hook_that_hangs_is_ended_after_its_limit_and_not_called_again(
    cli: Any, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.plugin("sleepy", HOOKED.format(hook="stage_started(ctx)", body="import time; time.sleep(600)"))
    monkeypatch.setattr(plugins, "HOOK_LIMIT_S", 0.3)
    registry = load_registry(workspace)
    told: list[str] = []
    begun = time.monotonic()
    for _ in range(2):
        registry.watch("stage_started", lambda plugin, error: told.append(f"{plugin}: {error}"), ctx=None)
    assert time.monotonic() - begun < 30
    assert told == [
        "sleepy: plugins/sleepy.py:5: plugin 'sleepy': stage_started: it had not come back after 0 s. "
        "Do what takes long in a thread"
    ]


@pytest.mark.parametrize(
    ("do", "reason"),
    [
        ("raises", f"{WHERE}: plugins/odd.py:{line_of('def raises')}: KeyError: 'nothing'"),
        ("library_raises", f"{WHERE}: plugins/odd.py:{line_of('def library_raises')}: JSONDecodeError: Expecting"),
        (
            "exits",
            f"{WHERE}: plugins/odd.py:{line_of('def exits')}: it called sys.exit('enough'). "
            "Raise tuiftune.StageError instead",
        ),
        ("leaves", f"the worker ended without a word (exit status 0) in {WHERE}"),
        (
            "crashes",
            f"the worker was ended by signal 11 (SIGSEGV) in {WHERE}, at plugins/odd.py:{line_of('def crashes')}",
        ),
    ],
)
def test_a_stage_that_ends_badly_is_named_with_its_plugin_and_line(odd: Any, do: str, reason: str) -> None:
    done, run = odd.run("odd", f"odd.do={do}")
    assert done.returncode == 1
    said = odd.ended(run).reason or ""
    assert said.startswith(reason)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert ("Traceback" in run.worker_log.read_text()) == (do in ("raises", "library_raises"))
    odd.assert_in_order(run)


def test_what_a_stage_leaves_behind_ends_with_its_run(odd: Any) -> None:
    run = odd.detached("odd", "odd.do=strays")
    state = odd.ended(run)
    assert (state.name, state.left) == ("finished", [])
    assert not Path(f"/proc/{(run.path / 'stray').read_text().strip()}").exists()
    assert "not waited for any longer: thread 'a thread of odd'" in run.worker_log.read_text()
    odd.assert_in_order(run)


def test_a_stage_that_hangs_is_seen_to_and_ended_by_a_stop_after_its_grace(
    odd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = odd.detached("odd", "odd.do=hangs", "run.stop_grace=1.0")
    odd.until((run.path / "hangs").exists)
    assert standing(run) == f"{run.id} running: odd"
    monkeypatch.setattr(stalling, "LEAST_S", 0.1)
    odd.until(lambda: standing(run).startswith(f"{run.id} running, no progress for "))
    worker = folder.recorded_state(run).worker
    assert worker
    os.kill(worker.pid, signal.SIGINT)  # what it swallows ends it no more than the stop does
    done = odd("stop", run.id)
    assert done.returncode == 0
    assert done.stdout == f"{run.id}: done: killed: it had not stopped 1 s after it was asked to\n"
    state = odd.ended(run)
    assert (state.name, state.reason) == ("stopped", "killed: it had not stopped 1 s after it was asked to")
    assert not process.is_alive(worker)
    odd.assert_in_order(run)
    odd.workspace.joinpath("plugins", "odd.py").write_text(ODD.replace("while True:", "while False:"))
    resumed = odd("resume", run.id)
    assert resumed.returncode == 0, resumed.stderr
    assert odd.step(run) == 5
