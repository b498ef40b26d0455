"""`tuiftune watch --once`: what the run screen shows, as plain lines."""

from __future__ import annotations

import math

import pytest

from tuiftune.tui.frame import frame

from .conftest import Factory


def test_a_frame_has_state_figures_pipeline_loss_devices_and_log(
    make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    recorded = make.running(372)
    recorded.gpus(2, seconds=3)
    recorded.log("evil \x1b[31m[red]line\x07", "x" * 200)
    recorded.healed("out of memory: half as many tokens at once")
    lines = frame(recorded.run, 80).splitlines()
    text = "\n".join(lines)
    assert lines[0].startswith(f"{recorded.run.id} running: causal_lm  372/600 steps  loss ")
    assert "left" in lines[0]
    assert "✓ text 0.4 s → ✓ tokenize cached → ▶ causal_lm → · perplexity" in lines
    assert "healed: out of memory: half as many tokens at once" in text
    chart = next(number for number, line in enumerate(lines) if line.startswith("loss  ━ smoothed "))
    assert "● eval" in lines[chart]
    assert any("\u2800" <= letter <= "\u28ff" for letter in lines[chart + 3])
    assert lines[chart + 9].rstrip().endswith("step")
    assert [line[:5] for line in lines if line.startswith("GPU ")] == ["GPU 0", "GPU 1"]
    assert "evil [red]line" in lines
    assert "\x1b" not in text
    assert max(len(line) for line in lines[1:]) <= 80

    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    assert "> causal_lm" in frame(recorded.run, 80)
    assert frame(recorded.run, 80).isascii()


def test_a_frame_is_there_before_the_first_step_and_after_the_end(make: Factory) -> None:
    waiting = make.new()
    assert frame(waiting.run, 80).splitlines()[0] == f"{waiting.run.id} starting: starting"
    failed = make.running(3)
    failed.metrics.metric(4, {"train/loss": math.nan}, failed.began + 9)
    failed.finish("failed", "the loss is no number", "nan")
    text = frame(failed.run, 80)
    assert text.splitlines()[0].endswith(": the loss is no number")
    assert "Why:" in text
    assert "smoothed nan" in text
