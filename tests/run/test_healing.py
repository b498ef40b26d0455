"""The rules of healing, without a process in sight."""

from __future__ import annotations

import errno
import signal
from pathlib import Path

import pytest

from tuiftune.errors import NoMemory, NotFinite, PluginError, ProcessLost, StageError
from tuiftune.run.control import Said
from tuiftune.run.failure import kind_of, kind_of_log
from tuiftune.run.healing import Cure, Failure, History, Incurable, cure_of, read_history, write_history

KNOWN = Said(memory={"batch_tokens": 4096, "longest": 512, "gradient_checkpointing": False})


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


def raised_from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "stage", "kind"),
    [
        (MemoryError(), "train", "oom"),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "train", "oom"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), "train", "oom"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "train", "oom"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "dataset", "oom"),
        (NoMemory("a single row of 512 tokens does not fit the memory"), "train", "oom"),
        (OSError(errno.ENOSPC, "No space left on device"), "train", "disk-full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "preprocess", "disk-full"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"), "train", "disk-full"),
        (raised_from(StageError("the cache cannot be written"), OSError(errno.ENOSPC, "")), "dataset", "disk-full"),
        (RuntimeError("CUDA error: unspecified launch failure"), "train", "gpu-lost"),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), "train", "gpu-lost"),
        (NotFinite("the loss has been no number for 20 steps"), "train", "nan"),
        (ProcessLost("process 1 of the training was killed by signal 9"), "train", "crashed"),
        (StageError("a.txt:3: 'No space left on device' is what this line says"), "dataset", "data"),
        (StageError("the train split is empty"), "preprocess", "data"),
        (StageError("no evaluator tells the loss"), "train", "stage"),
        (PluginError("plugins/a.py:1: broken"), None, "setup"),
        (ValueError("a bug"), "train", "crashed"),
        (SystemExit(3), "train", "crashed"),
    ],
)
def test_the_kind_of_an_error(error: BaseException, stage: str | None, kind: str) -> None:
    assert kind_of(error, stage) == kind


def test_an_error_that_was_dealt_with_is_not_the_reason() -> None:
    error = ValueError("another matter")
    error.__context__ = OSError(errno.ENOSPC, "")
    assert kind_of(error) == "disk-full"
    error.__suppress_context__ = True  # raise ... from None
    assert kind_of(error) == "crashed"


def test_what_native_code_says_before_it_aborts_tells_the_kind() -> None:
    assert kind_of_log(["terminate called after throwing an instance of 'std::bad_alloc'", "  what():  std::bad_alloc"])
    assert kind_of_log(["Fatal Python error: Segmentation fault"]) is None


def cured(found: Failure, history: History | None = None, said: Said | None = None, restarts: int = 3) -> Cure:
    cure = cure_of(found, history or History(), said or Said(), restarts)
    assert isinstance(cure, Cure), cure
    return cure


def incurable(found: Failure, history: History | None = None, said: Said | None = None, restarts: int = 3) -> str:
    cure = cure_of(found, history or History(), said or Said(), restarts)
    assert isinstance(cure, Incurable), cure
    return cure.sentence


# ---- memory


def test_tokens_at_once_are_halved_down_to_a_row_then_gradient_checkpointing_then_a_sentence() -> None:
    found, history, said = Failure("oom", "out of memory", 7), History(), KNOWN
    tried = []
    while isinstance(cure := cure_of(found, history, said, 3), Cure):
        history = cure.history
        tried.append((history.batch_tokens, history.gradient_checkpointing))
        said = Said(memory={"longest": 512, "batch_tokens": 4096, "gradient_checkpointing": False} | history.changes)
    assert tried == [(2048, False), (1024, False), (512, False), (512, True)]
    assert cure.sentence == (
        "out of memory with a single row at once and gradient checkpointing. "
        "Set a smaller tokenize.max_length, choose a smaller model, or end what else uses the memory"
    )


def test_from_a_large_budget_six_tries_are_enough_for_a_single_row_and_checkpointing() -> None:
    found, history, said = (
        Failure("host-oom", "killed", 7),
        History(),
        Said(memory=dict(KNOWN.memory, batch_tokens=1 << 20)),
    )
    tried = []
    while isinstance(cure := cure_of(found, history, said, 3), Cure):
        history = cure.history
        tried.append((history.batch_tokens, history.gradient_checkpointing))
        said = Said(memory=dict(said.memory) | history.changes)
    assert tried == [
        (1 << 19, False), (1 << 18, False), (1 << 17, False), (1 << 16, False), (512, False), (512, True),
    ]  # fmt: skip


def test_memory_that_runs_out_before_training_is_tried_again_twice() -> None:
    found = Failure("oom", "out of memory", 0)
    first = cured(found)
    second = cured(found, first.history)
    assert (first.wait_s, second.wait_s) == (1.0, 2.0)
    assert first.history.changes == second.history.changes == {}
    assert incurable(found, second.history).endswith("or end what else uses the memory (see: nvidia-smi, free -h)")


# ---- crashes


def test_crashes_without_progress_are_counted_and_wait_longer_each_time() -> None:
    history, waits = History(), []
    for step in (10, 9, 10, 8):
        found = Failure("crashed", "killed", step, by_signal=signal.SIGKILL)
        cure = cure_of(found, history, Said(), 3)
        if isinstance(cure, Incurable):
            assert cure.sentence == "killed (and it came no further in 3 restarts)"
            break
        history, waits = cure.history, [*waits, cure.wait_s]
    assert waits == [1.0, 2.0, 4.0]


def test_progress_starts_the_count_anew() -> None:
    history = History(restarts=3, furthest=10)
    cure = cured(Failure("crashed", "killed", 11, by_signal=signal.SIGKILL), history)
    assert (cure.history.restarts, cure.history.furthest) == (1, 11)


def test_a_bug_before_the_first_step_or_twice_in_the_same_place_is_not_tried_again() -> None:
    assert incurable(Failure("crashed", "ValueError: broken", 0)) == "ValueError: broken"
    once = cured(Failure("crashed", "ValueError: broken", 5))
    assert incurable(Failure("crashed", "ValueError: broken", 5), once.history) == (
        "ValueError: broken (for the second time at step 5)"
    )
    assert cured(Failure("crashed", "KeyError: 'x'", 5), once.history)


def test_a_killed_worker_is_started_again_even_before_its_first_step() -> None:
    assert cured(Failure("crashed", "killed", 0, by_signal=signal.SIGKILL)).wait_s == 1.0


def test_max_restarts_of_0_is_none() -> None:
    assert incurable(Failure("crashed", "killed", 5, by_signal=signal.SIGKILL), restarts=0) == "killed"


def test_waiting_has_an_end() -> None:
    assert (
        cured(Failure("crashed", "killed", 5, by_signal=9), History(restarts=50, furthest=9), restarts=1000).wait_s
        == 60.0
    )


# ---- the rest


def test_a_full_disk_is_waited_for_as_often_as_it_takes() -> None:
    cure = cured(Failure("disk-full", "the disk is full", 5), History(restarts=40), restarts=0)
    assert cure.for_room
    assert cure.wait_s <= 60


@pytest.mark.parametrize("kind", ["nan", "data", "stage", "setup", "gpu-lost"])
def test_what_will_not_go_away_by_itself_is_left_to_a_person(kind: str) -> None:
    assert incurable(Failure(kind, "a sentence", 5, by_signal=0)) == "a sentence"


def test_a_resume_by_a_person_starts_the_counts_anew_and_keeps_what_was_changed(tmp_path: Path) -> None:
    file = tmp_path / "healing.json"
    write_history(file, History(3, 40, 4, "40 x", 512, True))
    history = read_history(file).begun_anew()
    assert history == History(furthest=40, batch_tokens=512, gradient_checkpointing=True)
    assert history.changes == {"batch_tokens": 512, "gradient_checkpointing": True}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"restarts": 1, "unknown": 2}'])
def test_a_history_that_cannot_be_read_is_a_short_one(tmp_path: Path, content: str) -> None:
    file = tmp_path / "healing.json"
    file.write_text(content)
    assert read_history(file).changes == {}
    assert read_history(tmp_path / "absent.json") == History()
