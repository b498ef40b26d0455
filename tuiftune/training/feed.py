"""The data of the steps to come, made ready in a thread while the model is at work on the one before."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tuiftune.training.batches import StepBatches, collate_step, row_lengths

if TYPE_CHECKING:
    from datasets import Dataset

    from tuiftune.run.stream import Position, Row, TokenStream
    from tuiftune.training.plan import Plan

AHEAD = 2
"""Steps held ready: one may take longer to make than another."""


def steps_of(
    rows: Dataset, plan: Plan, seed: int, after_step: int, rank: int = 0, processes: int = 1
) -> Iterator[StepBatches]:
    """The steps after `after_step`, without end: each epoch in its own order. No row is read to get there."""
    lengths = row_lengths(rows)
    epoch, number = divmod(after_step, plan.steps_per_epoch)
    while True:
        order, bounds = plan.epoch_order(epoch, seed, lengths)
        for start, stop in zip(bounds[number:-1], bounds[number + 1 :], strict=True):
            chosen = [rows[int(sample)] for sample in order[start:stop]]
            yield collate_step(chosen, plan.slots, rank, processes)
        epoch, number = epoch + 1, 0


def steps_of_stream(
    stream: TokenStream, plan: Plan, tokens_per_step: int | None, position: Position | None
) -> Iterator[StepBatches]:
    """The steps of the rows that come after `position` (from the first on when there is none), each with the place
    it ends at. A row that would make a step longer than `tokens_per_step` begins the next."""
    rows: list[Row] = []
    tokens, place = 0, position
    for row, after in stream.rows(position):
        length = len(row["input_ids"])
        is_full = len(rows) == plan.samples_per_step if tokens_per_step is None else tokens + length > tokens_per_step
        if rows and is_full:
            yield collate_step(rows, plan.slots, position=place)
            rows, tokens = [], 0
        rows.append(row)
        tokens, place = tokens + length, after


class Feed:
    """Steps from an iterator, taken in a thread of its own, `AHEAD` at most before they are asked for.

    What the iterator raises is raised where the step is asked for.
    """

    def __init__(self, steps: Iterator[StepBatches], pinned: bool = False) -> None:
        """`pinned`: in memory that a GPU copies from while it works."""
        self._steps, self._pinned = steps, pinned
        self._ready: queue.Queue[StepBatches | BaseException] = queue.Queue(AHEAD)
        self._closed = threading.Event()
        self._over: BaseException | None = None
        self._thread = threading.Thread(target=self._fill, name="feed", daemon=True)
        self._thread.start()

    def __next__(self) -> StepBatches:
        """Raises what the iterator raised; RuntimeError where it ended."""
        found = self._over or self._ready.get()
        if isinstance(found, BaseException):
            self._over = found  # there is no thread to ask again
            raise found
        return found

    def close(self) -> None:
        """End the thread; steps it has ready are dropped."""
        self._closed.set()
        while self._thread.is_alive():
            try:
                self._ready.get(timeout=0.05)
            except queue.Empty:
                continue

    def _fill(self) -> None:
        last: BaseException = RuntimeError("there are no more steps")
        try:
            for step in self._steps:
                if self._pinned:
                    step = pin(step)
                self._ready.put(step)
                if self._closed.is_set():
                    return
        except BaseException as error:  # of the data's source or a stage: the one who waits is told
            last = error
        self._ready.put(last)


def pin(step: StepBatches) -> StepBatches:
    """The same, in page-locked memory."""
    batches: list[dict[str, Any]] = [
        {name: value.pin_memory() for name, value in batch.items()} for batch in step.micro_batches
    ]
    return StepBatches(batches, step.tokens, step.counted, step.position)
