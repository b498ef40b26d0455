"""The command line as a person uses it: real processes, the demo trainer where training is not the subject."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., subprocess.CompletedProcess[str]]

DEMO = """\
description = "a tour"
[dataset]
stage = "text"
path = "text.txt"
[train]
stage = "demo"
steps = {steps}
seconds_per_step = {seconds}
"""


@pytest.fixture
def cli(workspace: Path) -> Iterator[Cli]:
    """`tuiftune ARGUMENTS` in a workspace with a text; what still runs at the end is killed."""
    (workspace / "text.txt").write_text("".join(f"line {n} of a text\n" for n in range(50)))
    (workspace / "profiles" / "quick.toml").write_text(DEMO.format(steps=20, seconds=0.0))
    (workspace / "profiles" / "long.toml").write_text(DEMO.format(steps=100_000, seconds=0.02))

    def call(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "tuiftune.cli", *arguments],
            cwd=options.pop("cwd", workspace),
            capture_output=True,
            text=True,
            timeout=120,
            **options,
        )

    yield call
    for run in json.loads(call("runs", "--json").stdout or "[]"):
        if run["state"] in ("starting", "running", "stopping"):
            call("stop", run["id"], "--now")


def until(condition: Callable[[], Any], deadline_s: float = 60) -> Any:
    """Wait for something to be true and return it."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {deadline_s} s")


def summary(cli: Cli, run_id: str) -> dict[str, Any]:
    return next(run for run in json.loads(cli("runs", "--json").stdout) if run["id"] == run_id)


def step_of(cli: Cli, run_id: str) -> int:
    return int(summary(cli, run_id)["step"])


def test_run_follows_in_plain_lines_and_ends_with_the_figures(cli: Cli) -> None:
    done = cli("run", "quick")
    assert done.returncode == 0, done.stderr
    assert "runs in the background; Ctrl+C leaves it running" in done.stderr
    assert "train: demo" in done.stderr
    assert "finished after" in done.stdout
    assert "MADE UP by the demo trainer" in done.stdout
    assert "perplexity" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr


def test_detach_prints_the_id_alone_and_runs_shows_it_finished(cli: Cli) -> None:
    done = cli("run", "quick", "--detach", "--name", "first try")
    run_id = done.stdout.strip()
    assert done.stdout == f"{run_id}\n"
    assert run_id.startswith("quick-")
    until(lambda: summary(cli, run_id)["state"] == "finished")
    found = summary(cli, run_id)
    assert found["name"] == "first try"
    assert found["profile"] == "quick"
    assert found["step"] == found["total_steps"] == 20
    assert found["made_up"] is True
    assert found["baseline"]["perplexity"] > found["best"]["perplexity"]
    table = cli("runs").stdout
    assert run_id in table
    assert "finished" in table
    assert "(made up)" in table


def test_metrics_has_every_step_once_in_order_in_both_formats(cli: Cli) -> None:
    assert cli("run", "quick").returncode == 0
    rows = [json.loads(line) for line in cli("metrics", "latest", "--format", "jsonl").stdout.splitlines()]
    assert [row["step"] for row in rows if row["series"] == "train/loss"] == list(range(1, 21))
    assert all(set(row) == {"series", "step", "value", "time"} for row in rows)
    as_csv = list(csv.DictReader(io.StringIO(cli("metrics", "latest").stdout)))
    assert [(row["series"], int(row["step"])) for row in as_csv] == [(row["series"], row["step"]) for row in rows]


def test_stop_writes_a_checkpoint_and_resume_goes_on_from_it(cli: Cli) -> None:
    run_id = cli("run", "long", "--detach").stdout.strip()
    until(lambda: step_of(cli, run_id) >= 5)
    stopped = cli("stop", run_id)
    assert stopped.returncode == 0, stopped.stderr
    assert "done" in stopped.stdout
    assert summary(cli, run_id)["state"] == "stopped"
    at = step_of(cli, run_id)
    again = cli("stop", run_id)
    assert again.returncode == 2
    assert "already ended" in again.stdout
    assert cli("resume", run_id, "--detach").returncode == 0
    until(lambda: step_of(cli, run_id) > at + 5)
    busy = cli("resume", run_id)
    assert busy.returncode == 2
    assert busy.stderr.count("\n") == 1
    assert cli("stop", run_id, "--now").returncode == 0
    assert summary(cli, run_id)["state"] == "stopped"
    steps = [
        row["step"]
        for row in map(json.loads, cli("metrics", run_id, "--format", "jsonl").stdout.splitlines())
        if row["series"] == "train/loss"
    ]
    assert steps == list(range(1, len(steps) + 1))


def test_ctrl_c_detaches_and_says_so(cli: Cli, workspace: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "tuiftune.cli", "run", "long"],
        cwd=workspace,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    run = until(lambda: next(iter(json.loads(cli("runs", "--json").stdout or "[]")), None))
    until(lambda: step_of(cli, run["id"]) >= 3)
    os.killpg(process.pid, signal.SIGINT)
    _, words = process.communicate(timeout=30)
    assert process.returncode == 0
    assert f"{run['id']} goes on. Watch it: tuiftune watch {run['id']}" in words
    at = step_of(cli, run["id"])
    until(lambda: step_of(cli, run["id"]) > at)


def test_watch_once_prints_one_frame_and_logs_follow_ends_with_the_run(cli: Cli) -> None:
    run_id = cli("run", "long", "--detach", "--set", "train.steps=120").stdout.strip()
    until(lambda: step_of(cli, run_id) >= 2)
    frame = cli("watch", run_id, "--once")
    assert frame.returncode == 0, frame.stderr
    assert run_id in frame.stdout
    assert "loss" in frame.stdout
    assert cli("logs", run_id, "-f").returncode == 0
    assert summary(cli, run_id)["state"] == "finished"
    assert "finished after" in cli("watch", run_id[:-2], "--once").stdout


def test_a_failed_run_is_exit_status_1_with_its_sentence(cli: Cli, workspace: Path) -> None:
    done = cli("run", "quick", "--set", "train.fail_at=5")
    assert done.returncode == 1
    assert "failed after" in done.stderr
    assert "train stage 'demo'" in done.stderr
    assert "tuiftune why" in done.stderr
    crashed = cli("run", "quick", "--set", "train.crash_at=5")
    assert crashed.returncode == 1
    assert "RuntimeError" in crashed.stderr
    assert "Traceback" not in crashed.stderr
    assert "Traceback (most recent call last)" in cli("logs", "latest").stdout


def test_check_without_a_name_finds_what_cannot_be_read_at_all(cli: Cli, workspace: Path) -> None:
    (workspace / "profiles" / "torn.toml").write_text("[dataset\npath = 1\n")
    (workspace / "profiles" / "orphan.toml").write_text('extends = "gpt2-tex"\n')
    done = cli("check")
    assert done.returncode == 2
    assert "profiles/torn.toml:1: not TOML" in done.stderr
    assert "there is no profile 'gpt2-tex'. Did you mean 'gpt2-text'?" in done.stderr
    assert "quickstart: ok" in done.stdout


def test_the_options_of_a_stage_are_listed(cli: Cli) -> None:
    listed = cli("plugins", "causal_lm").stdout
    assert "max_steps: integer, at least 1, in steps, left out by default\n    optimizer steps in all" in listed
    assert "learning_rate: float, more than 0, default 5e-05" in listed
    options = {option["name"]: option for option in json.loads(cli("plugins", "run", "--json").stdout)}
    assert options["keep_checkpoints"]["default"] == 2
    wrong = cli("plugins", "causal")
    assert wrong.returncode == 2
    assert "'causal' is no stage here. There are: text, table" in wrong.stderr


def test_a_series_that_is_not_there_is_said_with_those_that_are(cli: Cli) -> None:
    assert cli("run", "quick", "--name", "my label").returncode == 0
    assert "my label" in cli("runs").stdout
    done = cli("metrics", "latest", "--series", "train/los")
    assert done.returncode == 2
    assert "train/los: no such series in this run. It has: " in done.stderr
    assert "train/loss" in done.stderr


def test_three_mistakes_are_reported_together_with_their_lines(cli: Cli, workspace: Path) -> None:
    (workspace / "profiles" / "wrong.toml").write_text(
        'description = "three mistakes"\n[dataset]\nstage = "text"\npth = "x"\npath = "text.txt"\n'
        '[train]\nstage = "demo"\nsteps = "many"\n[[evaluate]]\nstage = "perplexty"\n'
    )
    done = cli("check", "wrong")
    assert done.returncode == 2
    assert "profiles/wrong.toml:4: dataset.pth: " in done.stderr
    assert "profiles/wrong.toml:8: train.steps: " in done.stderr
    assert "profiles/wrong.toml:10: " in done.stderr
    assert "Did you mean 'path'?" in done.stderr
    assert "Did you mean 'perplexity'?" in done.stderr
    found = json.loads(cli("check", "wrong", "--json").stdout)
    assert [problem["line"] for problem in found[0]["problems"]] == [4, 8, 10]
    assert cli("run", "wrong").returncode == 2


def test_a_broken_plugin_is_named_and_the_rest_works(cli: Cli, workspace: Path) -> None:
    (workspace / "plugins" / "broken.py").write_text("def oops(:\n")
    done = cli("plugins")
    assert done.returncode == 0
    assert "broken" in done.stdout
    assert "SyntaxError" in done.stdout
    named = {plugin["name"]: plugin for plugin in json.loads(cli("plugins", "--json").stdout)}
    assert named["broken"]["problem"].startswith("plugins/broken.py:1: ")
    assert cli("check", "quick").returncode == 0


def test_profiles_and_show_say_where_each_value_comes_from(cli: Cli) -> None:
    listed = cli("profiles")
    assert "quick " in listed.stdout
    assert "quickstart" in listed.stdout
    shown = cli("show", "quick", "--set", "train.steps=7")
    assert "steps = 7" in shown.stdout
    assert "# --set" in shown.stdout
    assert "# profiles/quick.toml:" in shown.stdout
    assert "# default" in shown.stdout
    found = json.loads(cli("show", "quick", "--json").stdout)
    assert found["effective"]["train"]["steps"] == 20


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("run", "quik"), "quick"),
        (("run", "base"), "for others to extend"),
        (("logs", "nothing"), "no runs yet"),
        (("run",), "Missing argument"),
        (("generate", "nothing", "x"), "no runs yet"),
        (("evaluate", "nothing"), "no runs yet"),
    ],
)
def test_a_wrong_name_is_a_sentence_and_exit_status_2(cli: Cli, arguments: tuple[str, ...], sentence: str) -> None:
    done = cli(*arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_terminal_the_dashboard_says_what_to_do(cli: Cli) -> None:
    done = cli()
    assert done.returncode == 2
    assert "terminal" in done.stderr
    assert "\x1b" not in done.stderr


def test_init_makes_a_workspace_whose_profile_checks(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    done = cli("init", str(folder))
    assert done.returncode == 0, done.stderr
    assert (folder / "profiles" / "my-text.toml").is_file()
    assert cli("check", "my-text", cwd=folder).returncode == 0
    before = (folder / "profiles" / "my-text.toml").read_text()
    assert cli("init", str(folder)).returncode == 0
    assert (folder / "profiles" / "my-text.toml").read_text() == before


def test_escape_sequences_in_data_and_names_never_reach_the_terminal(cli: Cli, workspace: Path) -> None:
    (workspace / "profiles" / "evil.toml").write_text(
        DEMO.format(steps=3, seconds=0).replace("a tour", "\\u001b]0;owned\\u0007[/b]tour")
    )
    assert cli("run", "evil", "--name", "\x1b]0;owned\x07").returncode == 0
    for arguments in (("profiles",), ("runs",), ("watch", "--once"), ("show", "evil")):
        assert "\x1b" not in cli(*arguments).stdout


def test_resume_tells_what_is_new_and_how_long_this_attempt_took(cli: Cli, workspace: Path) -> None:
    (workspace / "profiles" / "middle.toml").write_text(DEMO.format(steps=400, seconds=0.02))
    run_id = cli("run", "middle", "--detach").stdout.strip()
    until(lambda: step_of(cli, run_id) >= 30)
    assert cli("stop", run_id).returncode == 0
    refused = cli("generate", run_id, "Once")
    assert refused.returncode == 2
    assert "made up by the demo trainer; there is no model" in refused.stderr
    resumed = cli("resume", run_id)
    assert resumed.returncode == 0, resumed.stderr
    lines = resumed.stderr.splitlines()
    (went_on,) = [line for line in lines if line.startswith("going on from step ")]
    assert f"profile, data, code and position agree with the checkpoint of step {went_on.rpartition(' ')[2]}" in lines
    assert lines.count("dataset: text") == 1
    steps = [int(line.rpartition(" ")[2]) for line in lines if line.startswith("checkpoint at step ")]
    assert min(steps) > int(went_on.rpartition(" ")[2])
    assert f"{run_id} finished after" in resumed.stdout
    assert "(attempt 2)" in resumed.stdout
    watched = cli("watch", run_id).stderr.splitlines()
    assert watched[0] == lines[0], "what came before the resume is no news"


def test_who_lists_runs_gives_one_that_lost_its_supervisor_a_new_one(cli: Cli, workspace: Path) -> None:
    run_id = cli("run", "long", "--detach").stdout.strip()
    until(lambda: step_of(cli, run_id) >= 3)
    state = workspace / "runs" / run_id / "state.json"
    lost = json.loads(state.read_text())["supervisor"]["pid"]
    os.kill(lost, signal.SIGKILL)
    assert summary(cli, run_id)["state"] == "running"
    found = until(lambda: (now := json.loads(state.read_text())["supervisor"]["pid"]) != lost and now)
    assert Path(f"/proc/{found}").exists()


def test_a_fact_that_is_no_number_stops_nobody_from_listing_runs(cli: Cli, workspace: Path) -> None:
    (workspace / "plugins" / "odd.py").write_text(
        "import tuiftune\n\n@tuiftune.hookimpl\ndef stage_finished(ctx, error):\n"
        "    ctx.fact(total_steps='many', train_tokens='odd', model_step='last')\n"
    )
    assert cli("run", "quick").returncode == 0
    assert "finished" in cli("runs").stdout
    assert json.loads(cli("runs", "--json").stdout)[0]["total_steps"] is None


def test_a_template_in_the_shell_has_line_breaks_as_in_a_profile(cli: Cli) -> None:
    text = ("--set", r"dataset.text={question}\n{answer}")
    shown = cli("show", "gpt2-table", *text, "--json")
    assert json.loads(shown.stdout)["effective"]["dataset"]["text"] == "{question}\n{answer}"
