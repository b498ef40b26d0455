"""A progress bar for what takes longer than a second, on a terminal alone."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from tuiftune.text import plain

AFTER_S = 1.0


@contextlib.contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yields what is to be told (done, total). Nothing is shown where it is quick, or where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        shown: list[Callable[[int, int], None]] = []

        def tell(done: int, total: int) -> None:
            if not shown and time.monotonic() - began >= AFTER_S:
                shown.append(stack.enter_context(_drawn(plain(what))))
            for show in shown:
                show(done, total)

        yield tell


@contextlib.contextmanager
def _drawn(what: str) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console  # 60 ms, only where a bar is shown
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    console = Console(file=sys.stderr, highlight=False)
    with Progress(*columns, console=console, refresh_per_second=4, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
