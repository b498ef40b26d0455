"""What authors of plugins get: one stage, one file, what a module imports."""

from __future__ import annotations

from pathlib import Path

import pytest

import tuiftune
from tuiftune.errors import PluginError, ProfileError
from tuiftune.testing import imports_of, load_plugin, run_stage


class Chatty(tuiftune.Preprocessor):
    """Says something by every door there is."""

    name = "chatty"

    class Options(tuiftune.Options):
        times: int = tuiftune.Field(1, ge=1, description="how often")
        file: str | None = None

    def run(self, ctx: tuiftune.Context) -> object:
        for step in range(1, self.options.times + 1):
            ctx.metric(step, loss=1 / step)
            ctx.progress(step, self.options.times, "steps")
        ctx.log("hello")
        ctx.event("waved", hand="left")
        ctx.sample(1, "Once", " upon", "base")
        ctx.fact(device="cpu")
        (ctx.dir / "note").write_text(str(ctx.seed))
        if self.options.file:
            with ctx.open(self.options.file) as file:
                return file.read()
        return ctx.input


def test_a_stage_is_run_with_what_it_says_kept(tmp_path: Path) -> None:
    result = run_stage(Chatty, tmp_path, "the input", seed=7, times=2)
    assert result.value == "the input"
    assert result.metrics == [(1, {"preprocess/loss": 1.0}), (2, {"preprocess/loss": 0.5})]
    assert result.progress == [(1, 2, "steps"), (2, 2, "steps")]
    assert result.log == ["hello"]
    assert result.events == [
        ("message", {"stage": "chatty", "text": "hello"}),
        ("waved", {"hand": "left"}),
    ]
    assert result.samples == [(1, "Once", " upon", "base")]
    assert result.facts == {"device": "cpu"}
    assert [path.read_text() for path in tmp_path.rglob("note")] == ["7"]


def test_options_are_checked_as_a_profiles_are(tmp_path: Path) -> None:
    with pytest.raises(ProfileError) as caught:
        run_stage(Chatty, tmp_path, times="2", tmies=1)
    assert {str(problem) for problem in caught.value.problems} == {
        "preprocess.times: must be an integer, got the string '2'",
        "preprocess.tmies: not an option of preprocess stage 'chatty'. Did you mean 'times'?",
    }


def test_a_missing_file_is_the_stages_own_sentence(tmp_path: Path) -> None:
    with pytest.raises(tuiftune.StageError, match=r"^none\.txt: no such file or folder"):
        run_stage(Chatty, tmp_path, file="none.txt")


def test_a_plugin_that_cannot_be_loaded_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text("\n1 / 0\n")
    with pytest.raises(PluginError, match=r"bad\.py:2: plugin 'bad': ZeroDivisionError: division by zero"):
        load_plugin(path)


def test_the_imports_of_a_module_are_found_in_another_process(tmp_path: Path) -> None:
    assert {"colorsys", "sys"} <= imports_of("colorsys")
    assert "torch" not in imports_of("tuiftune.testing")
    with pytest.raises(PluginError, match="no_such_module cannot be imported: ModuleNotFoundError"):
        imports_of("no_such_module")


def test_numbers_of_numpy_are_taken_as_numbers(tmp_path: Path) -> None:
    import numpy as np

    class Numbers(tuiftune.Preprocessor):
        name = "numbers"

        def run(self, ctx: tuiftune.Context) -> object:
            ctx.metric(np.int64(3), loss=np.float32(0.5))
            ctx.progress(np.int64(1), np.int32(2), "rows")
            ctx.sample(np.int64(3), "Once", " upon", "base")
            return None

    result = run_stage(Numbers, tmp_path)
    kinds = [type(value) for value in (result.metrics[0][0], *result.progress[0][:2], result.samples[0][0])]
    assert kinds == [int] * 4
    assert type(result.metrics[0][1]["preprocess/loss"]) is float
