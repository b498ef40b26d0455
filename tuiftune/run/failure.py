"""What kind of failure ended a worker: the word decides whether the run can go on by itself, and what a viewer reads.

oom        a device's memory, or what the process may use of the host's, ran out
host-oom   the kernel killed it, because the machine or its container had no memory left
disk-full  no room, or no quota
gpu-lost   the GPU does not answer any more
nan        the loss is no number
data       the data or what prepares it
stage      another stage said what is wrong with its input
setup      the profile, a plugin or the run folder, before any stage
crashed    a bug: a traceback, a signal, or an end without a word
"""

from __future__ import annotations

import errno
from typing import Final

from tuiftune.errors import StageError, TuiftuneError

OOM: Final = "oom"
HOST_OOM: Final = "host-oom"
DISK_FULL: Final = "disk-full"
GPU_LOST: Final = "gpu-lost"
NAN: Final = "nan"
DATA: Final = "data"
STAGE: Final = "stage"
SETUP: Final = "setup"
CRASHED: Final = "crashed"

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NO_MEMORY_WORDS = (
    "can't allocate memory",  # torch's allocator for the CPU
    "CUDA out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "std::bad_alloc",
    "Cannot allocate memory",
    "Unable to allocate",  # NumPy
    "malloc of size",  # Arrow
)
NO_ROOM_WORDS = ("No space left on device", "Disk quota exceeded", "unexpected pos", "database or disk is full")
"""`unexpected pos`: what torch.save says of a file that was cut short."""
GPU_LOST_WORDS = (
    "GPU is lost",
    "fallen off the bus",
    "device is lost",
    "unspecified launch failure",
    "uncorrectable ECC error",
    "no CUDA-capable device",
    "CUDA driver version is insufficient",
    "driver/library version mismatch",
    "device unavailable",
    "ncclUnhandledCudaError",
)


def kind_of(error: BaseException, stage_kind: str | None = None) -> str:
    """The word for what a worker met; `stage_kind` is that of the stage it was in, None before the first.

    By the class where there is one (by name: torch may not be imported), else by the words of the message, along the
    chain of causes.
    """
    for cause in causes(error):
        found = _kind_of_one(cause)
        if found:
            return found
    if isinstance(error, StageError):
        return error.kind or (DATA if stage_kind in ("dataset", "preprocess") else STAGE)
    if isinstance(error, TuiftuneError):
        return SETUP
    return CRASHED


def causes(error: BaseException) -> list[BaseException]:
    """The error, what it was raised from, and so on."""
    found: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in found:
        found.append(one)
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return found


def _kind_of_one(error: BaseException) -> str | None:
    text = str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return OOM
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return DISK_FULL
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return OOM
    if isinstance(error, TuiftuneError):  # a sentence for the user, whatever words it quotes
        return None
    for kind, words in ((OOM, NO_MEMORY_WORDS), (DISK_FULL, NO_ROOM_WORDS), (GPU_LOST, GPU_LOST_WORDS)):
        if any(word in text for word in words):
            return kind
    return None


def kind_of_log(lines: list[str]) -> str | None:
    """The word for a worker that was ended by a signal, from the last lines of its log: what native code says before
    it aborts. None where they tell nothing."""
    text = "\n".join(lines)
    if "std::bad_alloc" in text or "can't allocate memory" in text:
        return OOM
    return None
