"""Fills in whether the highlighted profile fits and how long it takes, in the background and never in the way."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from textual.message import Message

from tuiftune.errors import TuiftuneError
from tuiftune.planned import NO_PLAN
from tuiftune.run import plan_cache
from tuiftune.run.child import Child, GivenUp
from tuiftune.text import one_line
from tuiftune.tui.messages import PlanKnown

STAYS_S = 1.0
"""A profile that is passed by is not planned."""
NICE = 15
LEFT_OUT = "TUIFTUNE_NO_PLANS"
"""Set to 1 in the environment where nothing is to be planned unasked."""
MOST_DATA_BYTES = 64 << 20
"""Half a minute of preparing; more is not begun unasked."""
OFFLINE = {"HF_HUB_OFFLINE": "1"}
"""Nothing is fetched unasked."""
NOT_HERE = "whether it fits is known once its model and its data are on this machine"
BEING_MADE = "whether it fits is being found out..."
TRAINING = "not planned while a run is training"


class PlanFiller:
    """One plan at a time, of the profile that was wanted last; a child that plans another is ended.

    `post` must be callable from any thread (`App.post_message` is). `want` and `stop` return at once.
    """

    def __init__(self, workspace: Path, post: Callable[[Message], object], *, stays_s: float = STAYS_S) -> None:
        self._workspace, self._post, self._stays_s = workspace, post, stays_s
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._wanted: tuple[str, bool] | None = None
        self._since = 0.0
        self._child: Child | None = None
        self._thread: threading.Thread | None = None
        self._stopped = os.environ.get(LEFT_OUT) == "1"

    def want(self, profile: str | None, *, training: bool = False) -> None:
        """Plan this profile once it has been wanted for a second; None: no one is looked at any more.

        `training`: a run of this workspace is at work. Without a GPU a plan would take the CPU away from it.
        """
        wanted = None if profile is None else (profile, training)
        with self._lock:
            if wanted == self._wanted or self._stopped:
                return
            self._wanted, self._since = wanted, time.monotonic()
            if self._child is not None:
                self._child.give_up()
            if self._thread is None and wanted is not None:
                self._thread = threading.Thread(target=self._work, name="plans", daemon=True)
                self._thread.start()
        self._changed.set()

    def again(self) -> None:
        """Something was changed: what is known of the wanted profile may hold no longer."""
        with self._lock:
            wanted, self._wanted = self._wanted, None
        if wanted is not None:
            self.want(wanted[0], training=wanted[1])

    def stop(self) -> None:
        """Plan nothing any more; a child that does is ended."""
        with self._lock:
            self._stopped, self._wanted = True, None
            if self._child is not None:
                self._child.give_up()
        self._changed.set()

    # The thread.

    def _work(self) -> None:
        while not self._stopped:
            self._changed.wait()
            self._changed.clear()
            wanted, since = self._wanted, self._since
            if wanted is not None:
                try:
                    self._fill_in(*wanted, since)
                except GivenUp:  # another is wanted, or none
                    continue
                except TuiftuneError as error:
                    self._post(PlanKnown(wanted[0], None, one_line(str(error).splitlines()[0])))
                except Exception as error:
                    words = f"a bug in tuiftune: {type(error).__name__}: {error}"
                    self._post(PlanKnown(wanted[0], None, one_line(words)))

    def _fill_in(self, profile: str, training: bool, since: float) -> None:
        found = plan_cache.known(self._workspace, profile)
        if found is None:
            if training and not plan_cache.has_gpu():
                self._post(PlanKnown(profile, None, TRAINING))
                return
            if self._changed.wait(max(0.0, since + self._stays_s - time.monotonic())):
                return  # passed by; what is wanted now is seen next
            with self._lock:
                if self._changed.is_set():
                    return
                child = self._child = Child(said=_to_nobody, nice=NICE, environment=OFFLINE)
            try:
                self._post(PlanKnown(profile, None, BEING_MADE))
                found = plan_cache.find(self._workspace, profile, child=child, most_data_bytes=MOST_DATA_BYTES)
            finally:
                self._child = None
        if NO_PLAN in found.sentence:
            self._post(PlanKnown(profile, None, ""))
            return
        fetched = "hub cannot be reached" in found.sentence  # nor was it tried
        self._post(PlanKnown(profile, found.plan, NOT_HERE if fetched else one_line(found.sentence)))


def _to_nobody(line: str) -> None:
    """What stages say of the data is of no use in the menu."""
