"""Several processes that train one model side by side, one a GPU: every one the same step on its share of the rows.

The gradients of a step are added up over the processes once, after its last micro-batch, so the step is the same
however many there are. The first process is the run's worker; the others are its children, and end with it.
"""

from __future__ import annotations

import ctypes
import datetime
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch

from tuiftune.errors import NoMemory, ProcessLost
from tuiftune.run.ending import oom_kills
from tuiftune.run.failure import OOM, kind_of
from tuiftune.secrets import mask_streams

PATIENCE = datetime.timedelta(days=7)
"""The others wait while the first evaluates, samples and saves, or a run is held."""
GRACE_S = 10.0
"""What waits for one that is gone mostly finds out by itself."""
OUT_OF_MEMORY = 75
"""How one of the others ends for want of memory: the first is the one that tells the supervisor."""
PR_SET_PDEATHSIG = 1
"""linux/prctl.h"""


class PeerLost(RuntimeError):
    """Another process did not answer."""


class Alone:
    """One process: nothing to add up."""

    rank: int = 0
    count: int = 1

    def agree(self, go_on: bool) -> bool:
        """Whether there is another step: what the first process says."""
        return go_on

    def add_up(self, loss: torch.Tensor, parameters: Iterable[torch.nn.Parameter]) -> None:
        """The loss and every gradient become their sums over the processes, in place."""

    def same_weights(self, parameters: Iterable[torch.Tensor]) -> None:
        """The weights of the first process for all."""


class Group(Alone):
    """One of several processes."""

    def __init__(self, rank: int, count: int, device: torch.device) -> None:
        self.rank, self.count, self._device = rank, count, device

    def agree(self, go_on: bool) -> bool:
        word = torch.tensor([int(go_on)], device=self._device)
        with _answered():
            torch.distributed.broadcast(word, src=0)
            return bool(word.item())

    def add_up(self, loss: torch.Tensor, parameters: Iterable[torch.nn.Parameter]) -> None:
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        for parameter in trained:
            if parameter.grad is None:  # no row of this step fell to this process
                parameter.grad = torch.zeros_like(parameter)
        with _answered():
            sums = [loss, *(parameter.grad for parameter in trained)]
            for work in [torch.distributed.all_reduce(each, async_op=True) for each in sums]:
                work.wait()

    def same_weights(self, parameters: Iterable[torch.Tensor]) -> None:
        with _answered():
            for parameter in parameters:
                torch.distributed.broadcast(parameter.data, src=0)


@contextmanager
def _answered() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # torch.distributed has no class of its own for it
        raise PeerLost(str(error)) from error


@contextmanager
def joined(rank: int, count: int, device: torch.device, meeting: Path) -> Iterator[Group]:
    """Inside, this process is one of `count`. They meet at a file, so that no port has to be chosen."""
    threads = torch.get_num_threads()
    if device.type == "cpu":  # they share its cores
        torch.set_num_threads(max(1, threads // count))
    torch.distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=f"file://{meeting}",
        rank=rank,
        world_size=count,
        timeout=PATIENCE,
    )
    try:
        yield Group(rank, count, device)
    finally:
        torch.distributed.destroy_process_group()
        torch.set_num_threads(threads)


@contextmanager
def others(count: int, work: Callable[..., None], arguments: tuple[Any, ...]) -> Iterator[Callable[[], None]]:
    """Inside, `count - 1` more processes run `work(rank, *arguments)`; at the end they are waited for. What it
    gives ends them at once.

    Raises ProcessLost where one of them failed, NoMemory where it was for want of that; its traceback is in the log
    then. Where this process waits for it inside a library and cannot be told, it is ended.
    """
    context = multiprocessing.get_context("spawn")
    kills = oom_kills()
    children = [
        context.Process(target=_other, args=(rank, work, arguments), name=f"process {rank}", daemon=True)
        for rank in range(1, count)
    ]
    for child in children:
        child.start()
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            failure = _failure(children)
            if failure and not over.wait(GRACE_S):
                print(failure, file=sys.stderr, flush=True)
                os.kill(os.getpid(), signal.SIGABRT)
            over.wait(1.0)

    def end() -> None:
        over.set()
        for child in children:
            child.kill()

    threading.Thread(target=watch, name="watch the other processes", daemon=True).start()
    try:
        yield end
        for child in children:
            child.join()
    except PeerLost as error:
        failure = _failure(children, GRACE_S)
        if failure is None:
            raise
        codes = [child.exitcode for child in children]
        if OUT_OF_MEMORY in codes or (-signal.SIGKILL in codes and oom_kills() > kills):
            raise NoMemory(f"out of memory in one of {count} processes: {failure}") from error
        raise ProcessLost(failure) from error
    finally:
        end()


def _failure(children: list[Any], patience_s: float = 1.0) -> str | None:
    """A sentence about the first that failed; waits a while for one that ends."""
    ended = wait([child.sentinel for child in children], timeout=patience_s)
    for child in children:
        if child.sentinel in ended:
            child.join(1.0)  # its files are closed before it can be asked how it ended
        if child.exitcode:
            code = child.exitcode
            how = f"was killed by signal {-code}" if code < 0 else f"failed with status {code}"
            return f"{child.name} of the training {how}; the lines before this in the run's log say why"
    return None


def _other(rank: int, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """In the child: a stop is the first process's to see, and its death is ours."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is None or os.getppid() != parent.pid:  # it died before that line
        return
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    mask_streams()
    try:
        work(rank, *arguments)
    except Exception as error:
        traceback.print_exc()
        sys.exit(OUT_OF_MEMORY if kind_of(error) == OOM else 1)
