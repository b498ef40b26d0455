"""The panes' rows as text, at the widths they are made for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from tuiftune.run.folder import Run, State
from tuiftune.run.metrics_db import Curve, SampleRow
from tuiftune.run.progress import StageView
from tuiftune.run.summary import RunSummary
from tuiftune.tui.log_levels import ERROR, PLAIN, WARNING, Levels
from tuiftune.tui.messages import DeviceView, PromptSamples, RunView
from tuiftune.tui.panes.devices import DevicesPane
from tuiftune.tui.panes.facts import FactsPane
from tuiftune.tui.panes.header import HeaderPane
from tuiftune.tui.panes.log import LogPane
from tuiftune.tui.panes.log_lines import LogLines
from tuiftune.tui.panes.pipeline import PipelinePane, outcome, strip
from tuiftune.tui.panes.rows import Row, Rows, bar, beside, fit, fit_end, joined, wrap
from tuiftune.tui.panes.sample_times import time_line
from tuiftune.tui.panes.samples import SamplesPane

NOW = 1_000_000.0
RUN = Run(Path("runs/quickstart-20260101-120000-abc"))
STAGES = [
    StageView(0, "dataset", "text", "done", seconds=0.42),
    StageView(1, "preprocess", "tokenize", "done", cached=True, seconds=0.0),
    StageView(2, "train", "causal_lm", "running", done=372, total=600, unit="steps", eta_s=36.4),
    StageView(3, "evaluate", "perplexity"),
]
GPU = {
    "name": "NVIDIA RTX",
    "temperature_c": 61,
    "memory_used_bytes": 5.2 * 2**30,
    "memory_total_bytes": 12 * 2**30,
    "utilization_percent": 97,
    "power_w": 182.4,
    "power_limit_w": 285,
    "throttle": "",
    "slowdown_c": 98,
}
HOST = {
    "cpu_percent": 93.4,
    "ram_used_bytes": 3 * 2**30,
    "ram_total_bytes": 16 * 2**30,
    "gpu_status": "no NVIDIA driver: libnvidia-ml.so.1 is not installed",
}


def view(state: str = "running", reason: str | None = None, **more: Any) -> RunView:
    ended = None if state in ("starting", "running", "stopping") else NOW + 65
    known = State(state, since=NOW, started=NOW, ended=ended, reason=reason)
    return RunView(RUN, known, now=NOW + 65, began=NOW, profile="quickstart", **{"stages": STAGES, **more})


def lines(rows: Sequence[Row], width: int) -> list[str]:
    texts = ["".join(text for text, _ in row) for row in rows]
    assert all(cell_len(text) <= width for text in texts), texts
    return [text.rstrip() for text in texts]


def rows_of(pane: Rows, width: int, height: int) -> list[str]:
    return lines(pane.rows(width, height), width)


def header(seen: RunView, width: int = 78) -> list[str]:
    pane = HeaderPane()
    pane._view = seen
    return lines([pane._first(seen, width), *pane._reason(width)], width)


def test_the_header_says_which_run_what_it_does_and_for_how_long() -> None:
    (line,) = header(view())
    assert line.startswith("quickstart-20260101-120000-abc")
    assert line.endswith("● running  1:05")


def test_the_header_gives_the_reason_of_a_failure_in_full() -> None:
    reason = "data/chats.jsonl:12: no 'assistant' key. " + "Give every line both keys. " * 2
    first, *rest = header(view("failed", reason))
    assert "✗ failed" in first
    assert " ".join(rest).split() == reason.split()


def test_figures_of_a_demonstration_are_said_to_be_made_up() -> None:
    assert "MADE-UP FIGURES (demo)  ● running" in header(view(facts={"made_up": True}))[0]


def test_a_store_that_cannot_be_read_is_said_even_of_a_finished_run() -> None:
    assert header(view("finished", problem="metrics.db: cannot be read"))[1] == "metrics.db: cannot be read"


def test_processes_that_did_not_end_are_named() -> None:
    seen = view("stopped")
    left = State("stopped", since=NOW, started=NOW, ended=NOW, reason="stopped by the user.", left=[41, 42])
    seen = RunView(RUN, left, now=NOW)
    assert header(seen)[1] == "stopped by the user. These processes did not end: 41, 42"


def test_the_strip_of_stages_shows_a_sign_for_each_state() -> None:
    assert lines([strip(STAGES, 78)], 78) == ["✓ text 0.4 s → ✓ tokenize cached → ▶ causal_lm → · perplexity"]
    ended = [StageView(0, "dataset", "text", "failed"), StageView(1, "train", "demo", "stopped")]
    assert lines([strip(ended, 78)], 78) == ["✗ text → ■ demo"]


def test_a_strip_that_is_too_long_tells_where_the_run_is() -> None:
    assert lines([strip(STAGES, 45)], 45) == ["stage 3 of 4  ▶ causal_lm"]


def test_the_running_stage_has_a_bar_a_count_and_the_time_to_go() -> None:
    pane = PipelinePane()
    pane._view = view()
    assert rows_of(pane, 78, 9)[1] == "━━━━━━━━━━━━╸───────  62%   372/600 steps   0:36 left"


def test_a_stage_without_a_total_shows_its_count() -> None:
    pane = PipelinePane()
    pane._view = view(stages=[StageView(0, "dataset", "text", "running", done=1200, unit="documents")])
    assert rows_of(pane, 78, 9)[1] == "1,200 documents"


def summary(**more: Any) -> RunSummary:
    known: dict[str, Any] = {
        "baseline": {"perplexity": 26.31},
        "best": {"perplexity": 4.156},
        "last": {"perplexity": 4.156},
        "tokens_per_s": 8205.4,
        "peak_vram_bytes": None,
    }
    return RunSummary(
        **{
            "id": RUN.id,
            "profile": "quickstart",
            "name": None,
            "state": "finished",
            "reason": None,
            "step": 600,
            "total_steps": 600,
            "started": NOW,
            "ended": NOW + 65,
            "path": str(RUN.path),
            "made_up": False,
            **known,
            **more,
        }
    )


def test_a_finished_run_sums_up_and_says_how_to_generate() -> None:
    found = lines(outcome(view("finished", summary=summary(), model=RUN.model), 78), 78)
    assert found == [
        "perplexity 26.31 → 4.156  84% below baseline   8,205 tokens/s   600/600 steps",
        "model     runs/quickstart-20260101-120000-abc/model   5 asks it",
        'generate  tuiftune generate quickstart-20260101-120000-abc "Once upon a time"',
    ]


def test_a_run_without_an_evaluation_sums_up_what_there_is() -> None:
    bare = summary(state="stopped", baseline=None, last=None, tokens_per_s=None, step=0)
    assert lines(outcome(view("stopped", summary=bare), 78), 78) == [
        "r resumes it from its beginning   w says why it ended, and what to do"
    ]


def test_a_perplexity_that_is_not_finite_is_shown_as_it_is() -> None:
    odd = summary(last={"perplexity": float("inf")})
    assert lines(outcome(view("finished", summary=odd), 78), 78)[0].startswith("perplexity inf")


def devices(*found: DeviceView, width: int = 78, height: int = 2, **more: Any) -> list[str]:
    pane = DevicesPane()
    pane.show(view(devices=found, read_at=NOW + 64, **more).readings)
    return rows_of(pane, width, height)[:height]


def test_a_gpu_is_one_line_where_there_is_little_room() -> None:
    line = devices(DeviceView("gpu0", GPU, {}), DeviceView("host", HOST, {}))[0]
    assert " ".join(line.split()) == "GPU 0 61 °C VRAM 5.2/12.0 GiB util 97 % 182/285 W"


def test_a_gpu_is_a_block_where_there_is_room() -> None:
    history = {"temperature_c": [60.0, 61.0], "utilization_percent": [0.0, 100.0]}
    found = devices(DeviceView("gpu0", GPU, history), width=36, height=20)
    assert found[0] == "GPU 0  NVIDIA RTX"
    assert [line.split()[0] for line in found[1:5]] == ["temp", "VRAM", "util", "power"]
    assert found[3] == "util   97 %                       ▁█"


def test_a_history_is_taller_where_there_is_room() -> None:
    found = devices(DeviceView("gpu0", GPU, {"utilization_percent": [0.0, 100.0]}), width=36, height=40)
    at = next(number for number, line in enumerate(found) if line.startswith("util"))
    assert [line[-2:] if "power" not in line else "power" for line in found[at : at + 5]] == [
        " █",
        " █",
        "▁█",
        "",
        "power",
    ]


def test_a_gpu_takes_two_rows_where_a_line_is_too_short() -> None:
    hot = {**GPU, "throttle": "heat, by hardware"}
    found = devices(DeviceView("gpu0", GPU, {}), DeviceView("gpu1", hot, {}), width=36, height=6)
    assert [" ".join(line.split()) for line in found] == [
        "GPU 0 61 °C util 97 % 182/285 W",
        "VRAM 5.2/12.0 GiB",
        "GPU 1 61 °C util 97 % 182/285 W",
        "VRAM 5.2/12.0 GiB ! heat, b…",
    ]


def test_lines_of_several_gpus_stand_in_columns() -> None:
    small = {**GPU, "memory_total_bytes": 2 * 2**30, "power_w": None, "power_limit_w": None, "temperature_c": 100}
    hot = {**GPU, "throttle": "heat, by hardware"}
    found = devices(DeviceView("gpu0", hot, {}), DeviceView("gpu1", small, {}))
    assert [line.index("util") for line in found] == [line.index("VRAM") + 19 for line in found]
    assert found[0].endswith("182/285 W  ! heat, by hardware")


def test_a_gpu_that_cannot_be_read_says_why() -> None:
    lost = {**dict.fromkeys(GPU), "error": "the driver no longer lists this GPU"}
    assert devices(DeviceView("gpu0", lost, {}))[0] == "GPU 0  the driver no longer lists this GPU"
    assert devices(DeviceView("gpu0", lost, {}), width=36, height=20)[1] == "the driver no longer lists this GPU"


def test_more_gpus_than_rows_are_counted() -> None:
    many = [DeviceView(f"gpu{number}", GPU, {}) for number in range(8)]
    assert devices(*many, height=4)[3] == "and 5 more GPUs: there is room for them on a taller screen"


def test_what_a_gpu_does_not_tell_is_a_dash() -> None:
    silent = dict.fromkeys(GPU)
    line = devices(DeviceView("gpu0", silent, {}))[0]
    assert " ".join(line.split()) == "GPU 0 — °C VRAM —/— GiB util — % —/— W"


def test_a_gpu_that_slows_itself_down_says_why() -> None:
    hot = {**GPU, "throttle": "thermal"}
    assert devices(DeviceView("gpu0", hot, {}), height=20)[0] == "GPU 0  NVIDIA RTX  slowed down: thermal"
    assert devices(DeviceView("gpu0", hot, {}), width=36, height=20)[0] == "GPU 0  RTX  slowed down: thermal"


def test_without_a_gpu_cpu_and_memory_are_shown_and_the_reason() -> None:
    found = devices(DeviceView("host", HOST, {"cpu_percent": [50.0] * 99}))
    assert found[0].startswith("CPU 93 %  ▅▅▅▅▅")
    assert "RAM 3.0/16.0 GiB" in found[0]
    assert found[1] == "no GPU: no NVIDIA driver: libnvidia-ml.so.1 is not installed"


def test_old_readings_are_said_to_be_old() -> None:
    pane = DevicesPane()
    pane.show(view(devices=[DeviceView("host", HOST, {})], read_at=NOW + 5).readings)
    assert rows_of(pane, 78, 3)[2] == "read 1 min 00 s ago"


def sample(step: int, text: str, prompt: str = "Once") -> SampleRow:
    return SampleRow(step, NOW, step, prompt, text, "base" if step == 0 else f"step {step}")


def test_samples_stand_beside_those_of_the_base_model_where_there_is_room() -> None:
    pane = SamplesPane()
    pane._samples = [PromptSamples("Once", sample(0, ", the of"), [sample(200, " upon a time"), sample(100, " x")])]
    assert rows_of(pane, 80, 6) == [
        "samples  after step 200",
        "base model                               step 200",
        "Once, the of                             Once upon a time",
    ]
    assert rows_of(pane, 40, 6) == ["samples  after step 200", "Once upon a time", "", "base model", "Once, the of"]
    assert rows_of(pane, 40, 4) == ["samples  after step 200", "Once upon a time"]


def compared(width: int = 80) -> tuple[SamplesPane, Callable[[], list[str]]]:
    """Three texts of one prompt and two of another, on the whole screen."""
    pane = SamplesPane()
    curve = Curve(steps=[100, 200], means=[6.5, 5.25], lows=[], highs=[], bad=[])
    known = [
        PromptSamples("Once", sample(0, "zero"), [sample(200, "two"), sample(100, "one [b]")]),
        PromptSamples("Then", None, [sample(200, "b two", "Then"), sample(50, "b fifty", "Then")]),
    ]
    pane.show(view(samples=known, curves={"eval/perplexity": curve}, baseline=26.3))
    pane.full = True
    return pane, lambda: rows_of(pane, width, 12)


def test_two_samples_of_a_prompt_stand_side_by_side_and_others_are_chosen() -> None:
    pane, shown = compared()
    assert shown()[:3] == ["samples   prompt 1 of 2   text 3 of 3", "Once", "(base) ─ 100 ─ [200]"]
    assert [row.split() for row in shown()[4:6]] == [
        ["base", "model", "perplexity", "26.3", "step", "200", "perplexity", "5.25"],
        ["zero", "two"],
    ]
    pane.action_step(-1)
    pane.action_left()
    assert shown()[2] == "base ─ [(100)] ─ 200"
    assert shown()[4:6] == ["step 100  perplexity 6.5", "one [b]"]
    pane.action_step(1)
    assert shown()[5].split() == ["one", "[b]", "two"]
    pane.action_prompt(1)
    assert shown()[1:3] == ["Then", "(50) ─ [200]"]
    assert "perplexity" not in shown()[4][:38]
    pane.action_prompt(1)
    pane.action_edge(-1)
    assert shown()[2] == "[base] ─ (100) ─ 200"


def test_samples_stand_below_one_another_where_it_is_narrow_and_the_newest_is_followed() -> None:
    pane, shown = compared(40)
    assert shown()[4:] == ["base model  perplexity 26.3", "zero", "", "step 200  perplexity 5.25", "two"]
    pane._samples = [PromptSamples("Once", sample(0, "zero"), [sample(300, "three"), sample(200, "two")])]
    assert shown()[-1] == "three"
    pane.action_step(-1)
    pane._samples = [PromptSamples("Once", sample(0, "zero"), [sample(400, "four"), sample(200, "two")], 2)]
    assert shown()[-1] == "two"
    assert "2 older ones" in rows_of(pane, 90, 12)[0]


def test_a_long_time_line_shows_what_is_about_the_chosen_step() -> None:
    texts = [sample(step, "x") for step in range(0, 5000, 50)]
    for width in (20, 40, 80):
        for right in (0, 50, 99):
            row = "".join(text for text, _ in time_line(texts, 0, right, width))
            assert cell_len(row) <= width
            assert ("(0)" in row or "(base)" in row or "[(base)]" in row) == (not row.startswith("…"))
            assert row.endswith("…") == (right < 99)


def test_markup_in_a_sample_stays_text() -> None:
    pane = SamplesPane()
    pane._samples = [PromptSamples("[bold]x[/]", None, [sample(1, "[red]y[/red]")])]
    assert rows_of(pane, 60, 3)[1] == "[bold]x[/] [red]y[/red]"


def test_the_log_shows_its_end() -> None:
    pane = LogPane()
    pane._lines = [f"line {number}" for number in range(100)]
    assert rows_of(pane, 40, 4) == ["log  worker.log", "line 97", "line 98", "line 99"]
    pane._lines = ["12:00:00 a sentence of many words", "short"]
    assert rows_of(pane, 20, 6)[:5] == [
        "log  worker.log",
        "12:00:00 a sentence",
        "         of many",
        "         words",
        "short",
    ]
    pane._lines = [*["a line too long for this pane"] * 9, "short"]
    assert rows_of(pane, 20, 9)[1:] == [*["a line too long for", "this pane"] * 3, "short"]
    pane._lines = ["12:00:00 a sentence of many words", "short"]
    assert rows_of(pane, 20, 3) == ["log  worker.log", "12:00:00 a sentence…", "short"]


def looked_at(count: int, first: int = 0) -> LogLines:
    """Every tenth line an error."""
    log = LogLines()
    log.take(*told(count, first))
    return log


def told(count: int, first: int = 0) -> tuple[list[str], list[int], int]:
    numbers = range(first, first + count)
    return [f"line {number}" for number in numbers], [ERROR if n % 10 == 0 else PLAIN for n in numbers], first


def texts(log: LogLines, height: int = 4, width: int = 40) -> list[str]:
    return lines(log.rows(width, height)[0], width)


def test_a_log_stays_where_one_reads_while_lines_come_and_go_and_tells_how_many() -> None:
    log = looked_at(100)
    assert texts(log)[-1] == "  line 99"
    log.scroll(-10, 40, 4)
    assert texts(log) == ["  line 86", "  line 87", "  line 88", "  line 89"]
    log.take(*told(120, 30))
    assert texts(log) == ["  line 86", "  line 87", "  line 88", "  line 89"]
    assert (log.follows, log.fresh, log.rows(40, 4)[1]) == (False, 50, 60)
    log.scroll(1000, 40, 4)
    assert log.follows
    assert texts(log)[-1] == "  line 149"
    log.to_start(40, 4)
    log.take(*told(100, 200))
    assert texts(log)[0] == "✗ line 200", "what one read was let go"


def test_a_search_goes_from_hit_to_hit_and_round() -> None:
    log = looked_at(100)
    log.search("LINE 9")
    log.jump(0, 40, 4)
    assert (log.hits, log.follows) == ((11, 11), True), "9, 90 to 99; the newest is on the screen"
    log.jump(1, 40, 4)
    assert log.hits == (1, 11)
    assert "› line 9" in texts(log)  # noqa: RUF001
    log.jump(-1, 40, 4)
    assert log.hits == (11, 11)
    log.filter(ERROR)
    assert texts(log, 20)[-1] == "✗ line 90"
    assert log.count == 10
    log.search("nothing has it")
    log.jump(0, 40, 4)
    assert log.hits == (0, 0)


def test_what_was_searched_for_stands_out_whatever_is_in_it() -> None:
    log = LogLines()
    log.take(["12:00:00 a [b]x[/b] and A [B]"], [PLAIN], 0)
    log.search("a [b]")
    (row,), _ = log.rows(60, 3)
    assert [text for text, tone in row if tone == "hit"] == ["a [b]", "A [B]"]


def test_long_lines_are_scrolled_row_by_row_and_drawn_at_any_size() -> None:
    log = LogLines()
    log.take(["12:00:00 " + "word " * 400, "short"], [PLAIN, PLAIN], 0)
    log.scroll(-5, 40, 10)
    assert texts(log, 10)[0].strip() == " ".join(["word"] * 6)
    for width, height in ((1, 1), (2, 3), (200, 60), (12, 1)):
        assert len(log.rows(width, height)[0]) <= height
        log.scroll(-1, width, height)
        log.scroll(3, width, height)


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("12:00:00 going on from step 12", PLAIN),
        ("12:00:00 no terrors here, 0 errors", PLAIN),
        ("/x.py:3: UserWarning: old", WARNING),
        ("12:00:00 step 3: the loss is nan, the gradient's norm nan", WARNING),
        ("torch.OutOfMemoryError: CUDA out of memory", ERROR),
        ("ERROR: no", ERROR),
    ],
)
def test_levels_are_told_from_words(text: str, level: int) -> None:
    assert Levels().of(text) == level


def test_all_of_a_traceback_is_an_error() -> None:
    levels = Levels()
    text = ["Traceback (most recent call last):", '  File "x.py", line 1', "    x", "ValueError: y", "12:00:00 well"]
    assert [levels.of(line) for line in text] == [ERROR] * 4 + [PLAIN]


def test_a_fact_that_is_no_number_is_shown_as_it_is_and_breaks_nothing() -> None:
    pane = FactsPane()
    pane.show(view(facts={"train_tokens": "odd", "parameters": ["x"], "epochs": "three"}))
    assert any(row.split() == ["trained", "on", "odd", "tokens"] for row in rows_of(pane, 40, 12))


def test_the_epoch_is_told_to_the_hundredth() -> None:
    pane = FactsPane()
    curves = {"train/epoch": Curve([1.0], [0.16], [0.16], [0.16], [False])}
    pane._view = view(facts={"epochs": 0.594059405940594}, curves=curves)
    assert rows_of(pane, 36, 9)[1].split() == ["epoch", "0.16", "of", "0.59"]
    pane._view = view(facts={"epochs": 3}, curves=curves)
    assert rows_of(pane, 36, 9)[1].split() == ["epoch", "0.16", "of", "3"]


def test_facts_that_are_not_known_are_left_out() -> None:
    pane = FactsPane()
    pane._view = view(facts={"parameters": 10_600_000, "device": "cpu", "precision": "fp32"})
    assert [line.split()[0] for line in rows_of(pane, 36, 9)] == ["figures", "model", "device"]
    pane._view = view()
    assert rows_of(pane, 36, 9) == []


def test_texts_are_cut_and_wrapped_by_cells() -> None:
    assert fit("日本語", 5) == "日本…"
    assert fit("abc", 3) == "abc"
    assert fit_end("/a/long/path/model", 10) == "…ath/model"
    assert wrap("日本語 テスト", 6) == ["日本語", "テスト"]
    assert sum(cell_len(text) for text, _ in bar(0.5, 9)) == 9
    assert lines([joined([[("one", "")], [("two", "")], [("three", "")]], 10)], 10) == ["one   two"]
    assert lines([beside([("a long name", "")], [("right", "")], 12)], 12) == ["a lon… right"]


def test_a_pane_that_fails_says_so_in_its_place(monkeypatch: Any) -> None:
    class Broken(Rows):
        content_size = (60, 2)  # type: ignore[assignment]

        def rows(self, width: int, height: int) -> Sequence[Row]:
            raise KeyError("x")

    started = time.monotonic()
    pane = Broken()
    pane.refresh = lambda *_: pane  # type: ignore[method-assign]
    monkeypatch.setattr(Broken, "log", type("Log", (), {"error": staticmethod(lambda _: None)}))
    pane.redraw()
    assert pane.text[0] == "this pane cannot be drawn: KeyError: 'x'"
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("facts", "share"),
    [
        ({"flops_per_token": 6 * 124_000_000, "peak_flops": 80e12}, 0.372),
        ({"flops_per_token": 6 * 124_000_000}, None),
        ({"flops_per_token": "many", "peak_flops": 80e12}, None),
        ({"flops_per_token": 6, "peak_flops": 0}, None),
        ({}, None),
    ],
)
def test_the_share_of_the_peak_is_told_where_the_peak_is_known(facts: dict[str, Any], share: float | None) -> None:
    curves = {"train/tokens_per_s": Curve([1], [40_000.0], [40_000.0], [40_000.0], [False])}
    found = view(facts=facts, curves=curves)
    assert found.mfu == (None if share is None else pytest.approx(share))
