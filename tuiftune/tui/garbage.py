"""Python's garbage collector, kept from walking all that Textual makes: at the start, where none of it is garbage yet,
and later several times a second, 0.1 s each, in which no key is answered."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textual.app import App

COLLECTED_S = 60.0


def collect_later() -> None:
    """Nothing is collected until `collect_seldom`. For a process that is the dashboard's own."""
    gc.disable()


def collect_seldom(app: App[Any]) -> None:
    """What is there by now stays to the end and is not looked at again; what comes after it, once in a while.

    For an app that is its process's own: does nothing where it has no terminal, as in tests.
    """
    if app.is_headless:
        return
    gc.freeze()
    gc.disable()
    app.set_interval(COLLECTED_S, _collect)


def _collect() -> None:
    """A function of Python's own: Textual counts the parameters of a callback, which `gc.collect` does not let it."""
    gc.collect()
