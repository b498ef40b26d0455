"""Libraries are imported before the stages, and garbage is collected again afterwards."""

from __future__ import annotations

import subprocess
import sys


def facts_after(with_model: bool) -> dict[str, object]:
    """Of a fresh interpreter that has loaded the libraries."""
    code = (
        "import gc, sys; from tuiftune.run.libraries import load_libraries\n"
        f"load_libraries(with_model={with_model})\n"
        "print({'modules': set(sys.modules), 'collects': gc.isenabled(), 'frozen': gc.get_freeze_count()})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found: dict[str, object] = eval(done.stdout)  # noqa: S307 - a set has no JSON
    return found


def test_a_run_that_makes_no_model_never_loads_torch() -> None:
    found = facts_after(with_model=False)
    assert {"datasets", "torch"} & set(found["modules"]) == {"datasets"}  # type: ignore[call-overload]


def test_what_a_training_needs_is_there_and_no_later_search_for_garbage_looks_at_it() -> None:
    found = facts_after(with_model=True)
    needed = {"datasets", "torch", "transformers.modeling_utils", "tuiftune.training.trainer"}
    assert needed <= set(found["modules"])  # type: ignore[call-overload]
    assert found["collects"] is True
    assert int(str(found["frozen"])) > 200_000
