"""Textual's driver for a terminal, which sends only the cells that change."""

from __future__ import annotations

import os

from textual.drivers.linux_driver import LinuxDriver

from tuiftune.tui.cells import Cells


class QuietDriver(LinuxDriver):
    """What is written passes through the memory of what is shown; a resized terminal is a new one."""

    _cells: Cells | None = None
    _size = (0, 0)

    def write(self, data: str) -> None:
        try:
            size = tuple(os.get_terminal_size(self.fileno))
        except OSError:  # the terminal is gone, and with it what it showed
            size = (0, 0)
        if self._cells is None or size != self._size:
            self._cells, self._size = Cells(*size), (size[0], size[1])
        if news := self._cells.news(data):
            super().write(news)

    def forget(self) -> None:
        """The terminal may have lost what it showed: send all of it again as it is painted."""
        if self._cells is not None:
            self._cells.forget()
