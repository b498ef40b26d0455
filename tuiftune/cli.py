"""The command line: parse, call, print. Exit status 0 good, 1 the run failed, 2 usage, profile, plugin or input."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from tuiftune import __version__
from tuiftune.commands import compare as compare_commands
from tuiftune.commands import editing as editing_commands
from tuiftune.commands import plugin as plugin_commands
from tuiftune.commands import runs as runs_commands
from tuiftune.commands.alerts import alerts
from tuiftune.commands.common import follow_run, json_option, set_option
from tuiftune.commands.completion import completion
from tuiftune.commands.devices import devices
from tuiftune.commands.doctor import doctor
from tuiftune.commands.export import export
from tuiftune.commands.generate import generate
from tuiftune.commands.rerun import rerun
from tuiftune.commands.serve import serve
from tuiftune.errors import ProfileError, TuiftuneError
from tuiftune.paths import find_workspace
from tuiftune.signs import print_in_any_encoding
from tuiftune.text import is_unicode


def main() -> None:
    """The commands: a TuiftuneError is one sentence on stderr, anything else that is raised is a bug."""
    from tuiftune.program import COMPLETE, fail

    print_in_any_encoding()
    if COMPLETE in os.environ:
        from tuiftune import completing

        completing.attach(commands)
    try:
        commands(prog_name="tuiftune", complete_var=COMPLETE, standalone_mode=True)
    except TuiftuneError as error:
        fail(error)


@click.group(
    invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="tuiftune")
@click.pass_context
def commands(context: click.Context) -> None:
    """Fine-tune a causal language model: choose a profile, press Enter, watch it; close the window, it goes on.

    Without a command: the dashboard. RUN is a run's id, a unique beginning of it, or 'latest'.
    """
    if context.invoked_subcommand is None:
        context.exit(_dashboard())


def _dashboard(run_reference: str | None = None) -> int:
    from tuiftune import program
    from tuiftune.tui import guard

    refusal = guard.refuse()
    if refusal:
        raise click.UsageError(f"{refusal}\nWithout a terminal: tuiftune run PROFILE, tuiftune watch --once")
    return program.dashboard(run_reference)


@commands.command(name="open")
@click.argument("run_reference", metavar="[RUN]", default="latest")
@click.pass_context
def open_command(context: click.Context, run_reference: str) -> None:
    """The dashboard, at RUN (the latest by default)."""
    context.exit(_dashboard(run_reference))


@commands.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
def init(folder: Path) -> None:
    """Make FOLDER (this one by default) a workspace: profiles/, plugins/, runs/."""
    from tuiftune import output, workspace

    for path in workspace.make(folder.resolve()):
        output.fact(str(path))
    output.word(f"{folder.resolve()} is a workspace. Next, there: tuiftune run my-text --set dataset.path=FILE")


@commands.command()
@click.argument("profiles", metavar="PROFILE...", nargs=-1, required=True)
@set_option
@click.option("--name", help="A label for the run.")
@click.option("--detach", is_flag=True, help="Print the run's id and return.")
@click.option("--queue", "queued", is_flag=True, help="Wait for the runs before and for a free GPU; print ids, return.")
@json_option
def run(
    profiles: tuple[str, ...],
    overrides: tuple[str, ...],
    name: str | None,
    detach: bool,
    queued: bool,
    json_wanted: bool,
) -> None:
    """Start PROFILE in the background and follow it. Ctrl+C leaves it running.

    With --queue several may be given: one run a GPU at a time, in this order. See: tuiftune queue
    """
    from tuiftune import catalog, output
    from tuiftune.run import launch

    if len(profiles) > 1 and not queued:
        raise click.UsageError(f"{len(profiles)} profiles at once would share one GPU. One after the other: --queue")
    workspace = find_workspace()
    resolved = [launch.with_warnings(catalog.resolve_profile(workspace, one, overrides), workspace) for one in profiles]
    for note in dict.fromkeys(note for one in resolved for note in one.notes):
        output.word(note)
    if queued:
        started = launch.queue(workspace, resolved, name=name, command=sys.argv)
    else:
        started = [launch.start(workspace, one, name=name, command=sys.argv) for one in resolved]
    if detach or queued:
        if json_wanted:
            found = [{"id": one.id, "path": str(one.path)} for one in started]
            output.as_json(found if queued else found[0])
        else:
            output.fact("\n".join(one.id for one in started))
        return
    output.word(f"{started[0].id} runs in the background; Ctrl+C leaves it running")
    follow_run(started[0], json_wanted)


@commands.group(invoke_without_command=True)
@json_option
@click.pass_context
def queue(context: click.Context, json_wanted: bool) -> None:
    """List the runs that wait for their turn, the next one first. `tuiftune stop RUN` takes one out."""
    if context.invoked_subcommand is not None:
        return
    from tuiftune import output
    from tuiftune.run import launch
    from tuiftune.run import queue as queued
    from tuiftune.run.folder import recorded_state

    workspace = find_workspace()
    found = [one.run for one in queued.waiting(workspace)]
    launch.adopt_orphans(found)
    rows = [(str(place), one.id, recorded_state(one).reason or "") for place, one in enumerate(found, start=1)]
    if json_wanted:
        output.as_json([{"place": int(place), "id": name, "reason": reason or None} for place, name, reason in rows])
    elif rows:
        output.fact(output.table(rows, ("PLACE>", "RUN", "WAITS")))
    else:
        output.word(f"{workspace}: nothing waits. Queue runs with: tuiftune run A B C --queue")


@queue.command()
@click.argument("run_reference", metavar="RUN")
@click.argument("where", type=click.Choice(["first", "last", "up", "down"]))
def move(run_reference: str, where: str) -> None:
    """Give RUN, which waits, another place in the queue."""
    from tuiftune import output
    from tuiftune.run import queue as queued
    from tuiftune.run.folder import find_run

    found = find_run(find_workspace(), run_reference)
    output.fact(f"{found.id}: place {queued.move(found, where)}")


@commands.command()
@json_option
def runs(json_wanted: bool) -> None:
    """List the runs of this workspace, the newest first."""
    from tuiftune import output
    from tuiftune.bars import bar
    from tuiftune.run import launch
    from tuiftune.run.folder import list_runs
    from tuiftune.run.summary import summaries

    workspace = find_workspace()
    launch.adopt_orphans(list_runs(workspace))
    with bar("reading the runs") as progress:
        found = summaries(list_runs(workspace), progress, sizes=json_wanted)
    if json_wanted:
        output.as_json([summary.to_json() for summary in found])
    elif found:
        output.fact(output.runs_table(found))
    else:
        output.word(f"{workspace}: no runs yet. Start one with: tuiftune run quickstart")


@commands.command()
@click.argument("run_reference", metavar="[RUN]", default="latest")
@click.option("--once", is_flag=True, help="Print one plain frame of how it stands, and return.")
@json_option
def watch(run_reference: str, once: bool, json_wanted: bool) -> None:
    """Follow RUN (the latest by default) until it ends. Ctrl+C only stops the watching."""
    from tuiftune import output
    from tuiftune.run import launch
    from tuiftune.run.folder import find_run
    from tuiftune.run.summary import summarize

    found = find_run(find_workspace(), run_reference)
    launch.adopt_orphans([found])
    if not once:
        follow_run(found, json_wanted)
    elif json_wanted:
        output.as_json(summarize(found).to_json())
    else:
        from tuiftune.tui.frame import frame

        output.fact(frame(found, output.width()))


@commands.command()
@click.argument("run_reference", metavar="[RUN]", default="latest")
@json_option
def why(run_reference: str, json_wanted: bool) -> None:
    """Say what ended RUN (the latest by default), what is left to go on from, and what to do next.

    Of a run that goes on: what it is doing, what it waits for, and what it was healed from.
    """
    from tuiftune import output
    from tuiftune.run import launch
    from tuiftune.run import why as why_module
    from tuiftune.run.folder import find_run

    found = find_run(find_workspace(), run_reference)
    launch.adopt_orphans([found])
    card = why_module.look(found)
    output.as_json(card.to_json()) if json_wanted else output.fact(why_module.text(card, output.width()))


@commands.command()
@click.argument("run_reference", metavar="RUN")
@click.option("-f", "--follow", "keep_following", is_flag=True, help="Go on until the run ends.")
def logs(run_reference: str, keep_following: bool) -> None:
    """Print the log of RUN."""
    from tuiftune import output
    from tuiftune.run.folder import find_run
    from tuiftune.run.follow import log_lines

    try:
        for line in log_lines(find_run(find_workspace(), run_reference), keep_following):
            output.fact(line)
    except KeyboardInterrupt:
        return


@commands.command()
@click.argument("run_reference", metavar="RUN")
@click.option("--now", is_flag=True, help="Kill every process of it at once, without a checkpoint.")
@json_option
def stop(run_reference: str, now: bool, json_wanted: bool) -> None:
    """Stop RUN: it writes a checkpoint, then ends; `tuiftune resume` goes on from there."""
    _ask(run_reference, "kill" if now else "stop", json_wanted)


@commands.command()
@click.argument("run_reference", metavar="RUN")
@click.option("--release", is_flag=True, help="Also give its memory back: a checkpoint, then the worker ends.")
@json_option
def pause(run_reference: str, release: bool, json_wanted: bool) -> None:
    """Pause RUN at the end of its step; the GPU is free, its memory kept. `tuiftune resume` goes on."""
    _ask(run_reference, "release" if release else "pause", json_wanted)


@commands.command()
@click.argument("run_reference", metavar="RUN")
@json_option
def checkpoint(run_reference: str, json_wanted: bool) -> None:
    """Let RUN write a checkpoint at the end of its step; it goes on."""
    _ask(run_reference, "checkpoint", json_wanted)


@commands.command()
@click.argument("run_reference", metavar="RUN")
@json_option
def sample(run_reference: str, json_wanted: bool) -> None:
    """Let the model of RUN, which trains, write now: at the end of its step; it goes on. See its samples."""
    _ask(run_reference, "sample", json_wanted)


def _ask(run_reference: str, kind: str, json_wanted: bool) -> None:
    """Print the run's answer; exit status 2 where it refused."""
    from tuiftune import output
    from tuiftune.run import launch
    from tuiftune.run.folder import find_run
    from tuiftune.waiting import Waiting

    found = find_run(find_workspace(), run_reference)
    with Waiting(f"{found.id} is asked to {'release its memory' if kind == 'release' else kind}"):
        answer = launch.ask(found, kind)
    _print_answer(found.id, answer, json_wanted, output)


def _print_answer(run_id: str, answer: str, json_wanted: bool, output: Any) -> None:
    if json_wanted:
        output.as_json({"id": run_id, "answer": answer})
    else:
        output.fact(f"{run_id}: {answer}")
    if answer.startswith("refused"):
        sys.exit(TuiftuneError.exit_status)


@commands.command()
@click.argument("run_reference", metavar="RUN")
@click.option("--detach", is_flag=True, help="Return once it runs.")
@click.option("--force", is_flag=True, help="Go on though profile or data are not what the checkpoint was made of.")
@json_option
def resume(run_reference: str, detach: bool, force: bool, json_wanted: bool) -> None:
    """Go on with RUN: after a pause, or from its newest whole checkpoint where it has stopped or failed."""
    from tuiftune import output
    from tuiftune.run import launch, logout
    from tuiftune.run.folder import find_run
    from tuiftune.run.follow import last_event

    found = find_run(find_workspace(), run_reference)
    before = last_event(found)
    if warning := logout.look().warning:
        output.word(warning)
    answer = launch.go_on(found, force)
    if answer is not None:
        _print_answer(found.id, answer, json_wanted, output)
        return
    if detach:
        output.as_json({"id": found.id, "path": str(found.path)}) if json_wanted else output.fact(found.id)
        return
    follow_run(found, json_wanted, before)


@commands.command()
@click.argument("run_reference", metavar="RUN")
@click.option("--format", "form", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True)
@click.option("--series", help="Only this one, e.g. train/loss.")
def metrics(run_reference: str, form: str, series: str | None) -> None:
    """Print every recorded value of RUN: series, step, value, time (seconds since 1970)."""
    from tuiftune.run.export import write_csv, write_jsonl
    from tuiftune.run.folder import find_run
    from tuiftune.run.metrics_db import MetricsReader

    reader = MetricsReader(find_run(find_workspace(), run_reference).metrics_file)
    if series is not None and series not in reader.series():
        raise TuiftuneError(f"{series}: no such series in this run. It has: {', '.join(reader.series()) or 'none yet'}")
    (write_csv if form == "csv" else write_jsonl)(reader, sys.stdout, series)


@commands.command()
@click.argument("model", metavar="RUN|FOLDER")
@click.option("--profile", help="Data and evaluators for a model that is no run of ours.")
@set_option
@click.option("--now", is_flag=True, help="RUN trains: let it measure itself at the end of its step, and go on.")
@json_option
def evaluate(model: str, profile: str | None, overrides: tuple[str, ...], now: bool, json_wanted: bool) -> None:
    """Measure a model on its profile's held-out text."""
    from tuiftune import output, units
    from tuiftune.run import tools
    from tuiftune.waiting import Waiting

    if now:
        if profile or overrides:
            raise click.UsageError("--now measures a run with its own profile")
        _ask(model, "evaluate", json_wanted)
        return

    with Waiting(f"measuring {model}") as waiting:
        figures = tools.evaluate(find_workspace(), model, profile, overrides, waiting.child(), waiting.say)
    if json_wanted:
        output.as_json(figures)
        return
    rows = [
        (stage, name, value if isinstance(value, str) else units.exact(value))
        for stage, found in figures.items()
        for name, value in found.items()
    ]
    if not rows:
        raise TuiftuneError(f"{model}: the profile has no evaluator that tells figures")
    output.fact(output.table(rows, ("STAGE", "FIGURE", "VALUE>")))


@commands.command()
@click.argument("profile")
@set_option
@click.option(
    "--vram", metavar="SIZE", help="Plan for a GPU with so much memory, e.g. 12GiB, in place of what is here."
)
@json_option
def plan(profile: str, overrides: tuple[str, ...], vram: str | None, json_wanted: bool) -> None:
    """Tell what PROFILE will take: memory, whether it fits, steps and time. Nothing is trained."""
    from tuiftune import output, planned, units
    from tuiftune.run import plan_cache, tools
    from tuiftune.waiting import Waiting

    with Waiting(f"planning {profile}") as waiting:
        if vram is not None:
            found = tools.plan(find_workspace(), profile, overrides, units.parse_size(vram), waiting.child())
        else:  # kept for the menu, which tells whether it fits
            found = plan_cache.find(find_workspace(), profile, overrides, waiting.child()).or_raise()
    output.as_json(found) if json_wanted else output.fact(planned.frame(found))


@commands.command()
@json_option
def profiles(json_wanted: bool) -> None:
    """List the profiles: yours and the shipped ones."""
    from dataclasses import asdict

    from tuiftune import catalog, output
    from tuiftune.waiting import Waiting

    with Waiting("reading plugins and profiles"):
        found = catalog.read_catalog(find_workspace())
    if json_wanted:
        output.as_json([asdict(profile) for profile in found.profiles])
    else:
        output.fact(output.profiles_table(found))


@commands.command()
@click.argument("profile")
@set_option
@json_option
def show(profile: str, overrides: tuple[str, ...], json_wanted: bool) -> None:
    """Print PROFILE as it would run: every value, and where it comes from."""
    from dataclasses import asdict

    from tuiftune import catalog, output

    resolved = catalog.resolve_profile(find_workspace(), profile, overrides)
    if json_wanted:
        output.as_json(asdict(resolved))
    elif not resolved.problems:
        output.fact(output.effective_profile(resolved))
    if resolved.problems:
        raise ProfileError(resolved.problems)


@commands.command()
@click.argument("profile")
@set_option
@json_option
def data(profile: str, overrides: tuple[str, ...], json_wanted: bool) -> None:
    """Say what PROFILE would train on: lengths, repeats, leaks, and the first step token by token."""
    from tuiftune import data_frame, data_signs, output
    from tuiftune.run import tools
    from tuiftune.waiting import Waiting

    rows = None if json_wanted else data_frame.FIRST_STEP_ROWS
    with Waiting(f"reading the data of {profile}") as waiting:
        report = tools.data_report(find_workspace(), profile, overrides, rows, waiting.child())
    if json_wanted:
        output.as_json(report)
    else:
        signs = data_signs.UNICODE if is_unicode(sys.stdout) else data_signs.ASCII
        output.fact(data_frame.draw(report, output.width(), signs))


@commands.command()
@click.argument("names", metavar="[PROFILE]...", nargs=-1)
@set_option
@json_option
def check(names: tuple[str, ...], overrides: tuple[str, ...], json_wanted: bool) -> None:
    """Find every problem of PROFILEs (all by default) before anything runs."""
    from tuiftune import catalog, output
    from tuiftune.waiting import Waiting

    workspace = find_workspace()
    with Waiting("checking") as waiting:
        wanted = names or [
            profile.name for profile in catalog.read_catalog(workspace).profiles if profile.runnable or profile.problems
        ]
        found = []
        for name in wanted:
            waiting.doing(name)
            found.append(catalog.resolve_profile(workspace, name, overrides))
    if json_wanted:
        output.as_json(
            [
                {
                    "profile": resolved.name,
                    "path": resolved.path,
                    "problems": [problem.to_json() for problem in resolved.problems],
                    "notes": resolved.notes,
                    "absent": [problem.to_json() for problem in resolved.absent],
                }
                for resolved in found
            ]
        )
    for resolved in found:
        if not json_wanted and not resolved.problems:
            output.fact(f"{resolved.name}: ok ({' → '.join(resolved.pipeline)})")
        for note in resolved.notes:
            output.word(note)
        for problem in resolved.absent:
            output.word(f"  before it runs: {problem}")
    problems = [problem for resolved in found for problem in resolved.problems]
    if problems:
        raise ProfileError(problems)


@commands.command()
@click.argument("stage", required=False)
@json_option
def plugins(stage: str | None, json_wanted: bool) -> None:
    """List the plugins, their stages, and those that could not be loaded; or the options of STAGE.

    STAGE may also be 'model' or 'run', whose options are the core's.
    """
    from dataclasses import asdict

    from tuiftune import catalog, output
    from tuiftune.waiting import Waiting

    with Waiting("reading plugins"):
        found = catalog.read_catalog(find_workspace())
    if stage is not None:
        options = found.options_of(stage)
        output.as_json([asdict(option) for option in options]) if json_wanted else output.fact(output.options(options))
        return
    if json_wanted:
        output.as_json([asdict(plugin) for plugin in found.plugins])
    else:
        output.fact(output.plugins_table(found))


commands.add_command(alerts)
commands.add_command(compare_commands.compare)
commands.add_command(compare_commands.diff)
commands.add_command(export)
commands.add_command(rerun)
commands.add_command(runs_commands.rename)
commands.add_command(runs_commands.note)
commands.add_command(runs_commands.delete)
commands.add_command(runs_commands.trash_command)

commands.add_command(completion)
commands.add_command(plugin_commands.new_plugin)
commands.add_command(plugin_commands.plugin)
commands.add_command(serve)
commands.add_command(generate)
commands.add_command(devices)
commands.add_command(doctor)

commands.add_command(editing_commands.duplicate)
commands.add_command(editing_commands.edit)

if __name__ == "__main__":
    main()
