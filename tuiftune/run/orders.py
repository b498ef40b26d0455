"""What is asked of a run and what becomes of it: requests from viewers in, control.json to the worker, answers out."""

from __future__ import annotations

from dataclasses import replace

from tuiftune.run import requests
from tuiftune.run.control import Control, Said, read_control, read_said
from tuiftune.run.ending import Ending
from tuiftune.run.files import write_json
from tuiftune.run.folder import Run, State
from tuiftune.run.requests import ENDING, WISHES, Request
from tuiftune.run.supervisor_log import Record, log

ASKED, HEAT = "asked", "heat"
"""Why a run is held: causes of tuiftune.run.control.Control.holds."""
PAUSED = "paused as asked"


class Orders:
    """The requests of one run, for its supervisor. What a full disk does not take is tried again at each look."""

    def __init__(self, run: Run, record: Record) -> None:
        self._run, self._record = run, record
        self._asked: list[Request] = []
        """Those that are obeyed and not yet answered."""
        self._known: set[str] = set()
        """Ids of those that were looked at."""
        self._wishes: dict[str, int] = {}
        """By id of a request for one of requests.WISHES: its number in control.json."""
        self._control = Control()
        self._unwritten = False
        self.said = Said()
        """The newest words of the worker."""

    # ---- in

    def new(self) -> list[Request]:
        """Requests that were not seen before and have no answer."""
        if self._unwritten:
            self._tell(self._control)
        found = requests.read(self._run.requests, skip=self._known)
        self._known.update(request.id for request in found)
        return [request for request in found if request.answer is None]

    def take(self, request: Request, state: State) -> bool:
        """Refuse it, or see to it; True where the worker is to end, which is the caller's to do."""
        refusal = self._refusal(request, state)
        if refusal:
            self.answer(request, f"refused: {refusal}")
            return False
        self._asked.append(request)
        log(f"asked to {request.kind}")
        if request.kind == "resume":
            self.hold(ASKED, None)
            self.answer(request, "done")
        elif request.kind == "pause":
            self.hold(ASKED, PAUSED)
        elif request.kind in WISHES:
            number = self._control.wishes.get(request.kind, 0) + 1
            self._wishes[request.id] = number
            self._tell(replace(self._control, wishes={**self._control.wishes, request.kind: number}))
        return request.kind in ENDING

    def _refusal(self, request: Request, state: State) -> str | None:
        """Why this cannot be done now."""
        if request.kind not in requests.KINDS:
            return f"{request.kind!r} is not something this version can be asked"
        if request.kind not in ENDING and state.name == "stopping":
            return "the run is stopping"
        if request.kind not in ("stop", "kill") and state.name == "queued":
            return "the run waits in the queue (take it out with: tuiftune stop RUN)"
        if request.kind != "resume" or ASKED in self._control.holds:
            return None
        if state.name in ("paused", "pausing"):
            # Asked for a moment ago from elsewhere too: then it is just about to go on.
            return None if state.reason == PAUSED else f"the run waits by itself: {state.reason}"
        return f"the run is {state.name}, not paused"

    # ---- to the worker

    def begin_attempt(self) -> None:
        """Before a new worker: it is to be held as the one before was, and what was asked of that is asked of it."""
        self.said = Said()
        left = self._of(*WISHES)
        self._wishes = {request.id: 1 for request in left}
        self._tell(replace(self._control, wishes={request.kind: 1 for request in left}))
        self._run.said_file.unlink(missing_ok=True)

    def adopt(self) -> None:
        """A worker is there already: what the supervisor before asked of it stands."""
        self._control = read_control(self._run.control_file)

    def hold(self, cause: str, why: str | None) -> None:
        """Let the worker wait at its next step boundary, or go on where nothing else holds it."""
        holds = {name: sentence for name, sentence in self._control.holds.items() if name != cause}
        if why is not None:
            holds[cause] = why
        elif cause == ASKED:
            self._answer_each("pause", "refused: the run was asked to go on before it had paused")
        if holds != self._control.holds:
            self._tell(replace(self._control, holds=holds))

    def why_held(self, cause: str | None = None) -> str | None:
        """Why the worker is to wait, for this cause or for any."""
        holds = self._control.holds
        return next(iter(holds.values()), None) if cause is None else holds.get(cause)

    def _tell(self, control: Control) -> None:
        self._control = control
        try:
            write_json(self._run.control_file, control.to_json())
        except OSError as error:
            if not self._unwritten:
                log(f"{self._run.control_file.name} cannot be written for now: {error}")
            self._unwritten = True
        else:
            self._unwritten = False

    # ---- from the worker

    def hear(self) -> None:
        """Take over what the worker says of itself, and answer who waited for it."""
        said = self.said = read_said(self._run.said_file)
        for request in self._of(*WISHES):
            granted = said.granted.get(request.kind)
            if granted is not None and self._wishes.get(request.id, 0) <= granted.number:
                self.answer(request, granted.answer)
        if said.hold is not None and ASKED in self._control.holds:
            self._answer_each("pause", f"done: it waits at step {said.step:,}")

    # ---- the end

    @property
    def is_to_end(self) -> bool:
        """Whether anybody asked for the end of the run."""
        return bool(self._of(*ENDING))

    @property
    def is_to_be_released(self) -> bool:
        """Whether its end is only to give its memory back."""
        return bool(self._of("release")) and not self._of("stop", "kill")

    def answer_all(self, ending: Ending, killed: str | None) -> None:
        """Every request that is left, at the end of the run. `killed`: why its processes were killed."""
        late = f"refused: the run has already ended ({ending.state})"
        for request in requests.pending(self._run.requests):
            if ending.state not in ("stopped", "released") or request not in self._asked:
                self.answer(request, late)
            elif request.kind not in ENDING:
                self.answer(request, f"refused: the run was {ending.state} before")
            elif killed and request.kind != "kill":
                self.answer(request, f"done: {killed}")
            else:
                self.answer(request, "done")

    # ---- out

    def answer(self, request: Request, text: str) -> None:
        log(f"{request.kind}: {text}")
        if request in self._asked and request.kind not in ENDING:
            self._asked.remove(request)
        try:
            requests.answer(self._run.requests, request, text)
        except OSError as error:
            log(f"the answer cannot be written: {error}")
        self._record.event("request", {"kind": request.kind, "answer": text})

    def _answer_each(self, kind: str, text: str) -> None:
        for request in self._of(kind):
            self.answer(request, text)

    def _of(self, *kinds: str) -> list[Request]:
        return [request for request in self._asked if request.kind in kinds]
