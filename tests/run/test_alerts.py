"""What a person should know of a run is told until somebody has seen it."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

from tuiftune.run.alerts import look, mark_seen, read_seen
from tuiftune.run.folder import Run, State, create
from tuiftune.run.listing import Listing
from tuiftune.run.metrics_db import MetricsWriter
from tuiftune.run.stalling import StallWatch
from tuiftune.run.summary import summarize
from tuiftune.run.telemetry_db import TelemetryWriter
from tuiftune.run.throttling import Throttling

NOON = 1_790_000_000.0


def troubled(workspace: Path) -> Run:
    """A run in which everything happened that is worth an alert, and what is not; a step a second."""
    run = create(workspace, "quickstart", {"train": {"stage": "causal_lm"}}, {"profile": "quickstart"})
    metrics, telemetry = MetricsWriter(run.metrics_file), TelemetryWriter(run.telemetry_file)
    with metrics.batch():
        metrics.event("run_started", {}, NOON)
        for step in range(1, 301):
            loss = math.nan if step in (100, 101) else 2.0
            grad = math.inf if step == 50 else 1.0  # the loss scaling of fp16 passes over it
            metrics.metric(step, {"train/loss": loss, "train/grad_norm": grad}, NOON + step)
        metrics.event("held", {"step": 20, "reason": "paused as asked"}, NOON + 20)
        metrics.event("released", {"step": 20, "seconds": 5.0}, NOON + 25)
        metrics.event("held", {"step": 200, "reason": "the disk is full: it takes 2 MiB"}, NOON + 200)
        metrics.event("released", {"step": 200, "seconds": 90.0}, NOON + 290)
        metrics.event("plugin_error", {"plugin": "chat", "error": "plugins/chat.py:3: \x1b[31mboom"}, NOON + 299)
    sentence = "out of memory on gpu0; going on with 2,048 tokens at once in place of 4,096"
    telemetry.event("healed", {"kind": "oom", "sentence": sentence, "step": 12}, NOON + 13)
    guard = Throttling()
    for second in range(120):
        reason = "heat" if 30 <= second < 50 or 70 <= second < 80 else "power limit"
        for alert in guard.look(NOON + second, {"gpu0": {"throttle": reason}}):
            telemetry.event("alert", alert, NOON + second)
    return run


def test_what_happened_is_told_once_with_its_step_and_what_became_of_it(workspace: Path) -> None:
    found = {alert.kind: alert for alert in look(troubled(workspace))}
    assert sorted(found) == ["disk", "heat", "memory", "nan", "plugin"]
    assert found["memory"].sentence == "out of memory on gpu0"
    assert found["memory"].done.endswith("started, going on with 2,048 tokens at once in place of 4,096")
    assert (found["heat"].times, found["heat"].step) == (2, 70)
    assert found["heat"].done == "no longer so after 9.0 s"
    assert found["nan"].sentence == "the loss is no number at steps 100 to 101"
    assert found["nan"].done.endswith("later ones have numbers again")
    assert found["disk"].step == 200
    assert found["disk"].done.endswith("went on after 1 min 30 s")
    assert "\x1b" not in found["plugin"].sentence


def test_those_seen_stay_seen_whoever_marks_them_at_once(workspace: Path) -> None:
    run = troubled(workspace)
    listing = Listing(workspace)
    assert [summary.alerts for summary in listing.look(10)] == [5]
    keys = [alert.key for alert in look(run)]
    viewers = [threading.Thread(target=mark_seen, args=(run, [key])) for key in keys[1:]]
    for viewer in viewers:
        viewer.start()
    for viewer in viewers:
        viewer.join()
    assert [alert.key for alert in look(run) if not alert.seen] == keys[:1]
    mark_seen(run, keys)
    mark_seen(run, keys)
    assert read_seen(run) == set(keys)
    assert summarize(run).alerts == 0
    assert [summary.alerts for summary in listing.look(10, everything=True)] == [0]


def test_what_comes_again_is_new(workspace: Path) -> None:
    run = troubled(workspace)
    mark_seen(run, [alert.key for alert in look(run)])
    alert = {"alert": "throttle", "device": "gpu0", "reason": "heat", "phase": "start", "since": NOON + 200.0}
    TelemetryWriter(run.telemetry_file).event("alert", {**alert, "text": "gpu0 is slowed down: heat"}, NOON + 203)
    (fresh,) = [alert for alert in look(run) if not alert.seen]
    assert (fresh.kind, fresh.times, fresh.first) == ("heat", 3, NOON + 30)


def test_the_command_lists_them_and_marks_them_only_when_told(
    command_line: Callable[..., CompletedProcess[str]], workspace: Path
) -> None:
    run = troubled(workspace)
    shown = command_line("alerts", run.id).stdout
    assert shown.count("! 20") == 5
    assert "    out of memory on gpu0\n" in shown
    listed = json.loads(command_line("alerts", "--seen", "--json").stdout)
    assert [one["seen"] for one in listed] == [False] * 5
    assert "!" not in command_line("alerts", run.id).stdout


def test_a_stall_is_put_on_record_when_it_begins_and_when_it_ends(workspace: Path) -> None:
    run = create(workspace, "quickstart", {"train": {"stage": "causal_lm"}}, {"profile": "quickstart"})
    metrics, watch = MetricsWriter(run.metrics_file), StallWatch(run.metrics_file)
    watch.EVERY_S = 0.0
    state = State("running", NOON, NOON)
    metrics.event("stage_started", {"kind": "train"}, NOON)
    metrics.progress(2, 1, 9, "steps", NOON)
    assert watch.look(state, NOON + 60) == []
    (began,) = watch.look(state, NOON + 300)
    assert watch.look(state, NOON + 400) == []
    metrics.progress(2, 2, 9, "steps", NOON + 500)
    (ended,) = watch.look(state, NOON + 505)
    telemetry = TelemetryWriter(run.telemetry_file)
    telemetry.event("alert", began, NOON + 300)
    assert look(run)[0].done == "nothing is done to it"
    telemetry.event("alert", ended, NOON + 505)
    (alert,) = look(run)
    assert (alert.kind, alert.time, alert.sentence) == ("stall", NOON, "no step for 300 s")
    assert alert.done.startswith("it went on after 8 min")


def measured(workspace: Path, losses: list[float]) -> dict[str, str]:
    """Kind -> sentence of the alerts of a run with these losses on held-out text, at steps 0, 50, 100 ..."""
    run = create(workspace, "quickstart", {"train": {"stage": "causal_lm"}}, {"profile": "quickstart"})
    metrics = MetricsWriter(run.metrics_file)
    for number, loss in enumerate(losses):
        perplexity = math.exp(loss) if loss < 700 else math.inf
        metrics.metric(50 * number, {"eval/loss": loss, "eval/perplexity": perplexity}, NOON + number)
    TelemetryWriter(run.telemetry_file)
    return {alert.kind: alert.sentence for alert in look(run)}


def test_a_loss_on_held_out_text_that_rises_again_is_told(workspace: Path) -> None:
    found = measured(workspace, [3.0, 2.0, 1.5, 1.6, 1.9])
    assert found == {"overfit": "the loss on held-out text has risen since step 100: 1.5 to 1.9"}
    assert measured(workspace, [3.0, 2.0, 1.5, 1.9]) == {}, "once may be chance"
    assert measured(workspace, [3.0, 2.0, 1.5, 1.53, 1.52]) == {}, "so little is noise"
    assert measured(workspace, [3.0, 2.0, 1.9, 1.8]) == {}
    assert measured(workspace, [3.0]) == {}
    assert measured(workspace, []) == {}


def test_a_run_that_is_worse_than_the_untouched_model_is_told(workspace: Path) -> None:
    found = measured(workspace, [3.0, 5.0, 50_000.0])
    assert found["worse"] == "the loss on held-out text is above the untouched model's: 3 to 5e+04"
    assert found["nan"] == "the perplexity on held-out text is no number at step 100"
    assert "worse" not in measured(workspace, [3.0, 5.0, 2.0])


def bad_steps(workspace: Path, steps: list[int], last: int) -> Run:
    run = create(workspace, "quickstart", {"train": {"stage": "causal_lm"}}, {"profile": "quickstart"})
    metrics = MetricsWriter(run.metrics_file)
    bad = set(steps)
    with metrics.batch():
        for step in range(1, last + 1):
            metrics.metric(step, {"train/loss": math.nan if step in bad else 2.0}, NOON + step)
    TelemetryWriter(run.telemetry_file)
    return run


def test_a_run_whose_loss_stays_no_number_is_one_alert_that_stays_seen(workspace: Path) -> None:
    run = bad_steps(workspace, list(range(500, 4_001)), 4_000)
    (alert,) = look(run)
    assert (alert.step, alert.sentence) == (500, "the loss is no number at steps 500 to 4,000")
    mark_seen(run, [alert.key])
    more = MetricsWriter(run.metrics_file)
    more.metric(4_001, {"train/loss": math.nan}, NOON + 4_001)
    (alert,) = look(run)
    assert alert.seen, "it goes on, and somebody knows"
    assert alert.sentence == "the loss is no number at steps 500 to 4,001"


def test_a_loss_that_is_no_number_now_and_then_is_one_alert(workspace: Path) -> None:
    (alert,) = look(bad_steps(workspace, list(range(7, 85, 7)), 90))
    assert alert.sentence == "the loss is no number at 12 of the steps 7 to 84"
    assert (alert.times, alert.step) == (1, 7)


def test_a_run_stopped_as_it_stood_still_is_not_said_to_have_gone_on(workspace: Path) -> None:
    run = create(workspace, "quickstart", {"train": {"stage": "causal_lm"}}, {"profile": "quickstart"})
    metrics = MetricsWriter(run.metrics_file)
    metrics.event("stage_started", {"index": 0, "kind": "train", "name": "causal_lm"}, NOON)
    watch = StallWatch(run.metrics_file)
    (told,) = watch.look(State("running", since=NOON, started=NOON), NOON + 500)
    assert told["phase"] == "start"
    watch._due = 0.0
    assert watch.look(State("stopping", since=NOON, started=NOON), NOON + 520) == []
