"""What the watcher thread posts to the screen: immutable facts, the newer replacing the older."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.message import Message

if TYPE_CHECKING:  # the first frame waits for what is imported here
    from tuiftune.catalog import Catalog, ResolvedProfile
    from tuiftune.run.alerts import Alert
    from tuiftune.run.card import Card, Healed
    from tuiftune.run.folder import Run, State
    from tuiftune.run.machine_processes import ProcessView
    from tuiftune.run.metrics_db import Curve, MetricRow, SampleRow
    from tuiftune.run.progress import StageView
    from tuiftune.run.summary import RunSummary


@dataclass(frozen=True)
class DeviceView:
    """One GPU, or the host."""

    name: str
    """'gpu0', 'host'."""
    latest: Mapping[str, Any]
    """Field -> value; None where the device does not tell."""
    history: Mapping[str, Sequence[float]]
    """Field -> values of the last minutes, oldest first."""


@dataclass(frozen=True)
class GpuCurve:
    """What a GPU did over the whole run: sequences of one length. NaN: it was not told."""

    device: str
    """'gpu0'."""
    times: Sequence[float]
    """Seconds since the run's start."""
    temperature_c: Sequence[float]
    utilization_percent: Sequence[float]
    power_percent: Sequence[float]
    """Of its limit."""
    slowed: Sequence[bool]
    """Whether anything slowed it down then."""
    slowdown_c: float | None
    """Where it slows itself down."""


@dataclass(frozen=True)
class Readings:
    """What all devices were found at, and when."""

    devices: Sequence[DeviceView]
    age_s: float | None
    """How long ago the newest was taken; None where there is none."""
    live: bool
    """Whether more are to come."""


@dataclass(frozen=True)
class Glance:
    """What the top row of every place tells."""

    host: str = ""
    """This machine's name."""
    devices: Sequence[DeviceView] = ()
    """Its GPUs, and 'host'; none while nothing was read."""
    active: int = 0
    """Runs that work, or are on hold."""
    queued: int = 0
    alerts: int = 0
    """Of the active runs, those that nobody has seen."""


@dataclass(frozen=True)
class PromptSamples:
    """What the models wrote after one prompt."""

    prompt: str
    base: SampleRow | None
    """The untouched model's, from before step 1."""
    tuned: Sequence[SampleRow]
    """The tuned model's, newest first."""
    dropped: int = 0
    """How many older ones were let go."""


@dataclass(frozen=True)
class RunView:
    """All that the run screen shows, as of one look at the run's folder."""

    run: Run
    state: State
    now: float
    """Seconds since the epoch, when the look was taken."""
    began: float = 0.0
    """When this attempt of the run started."""
    profile: str = ""
    label: str | None = None
    """Given with --name."""
    problem: str | None = None
    """What could not be read, as a sentence."""
    stalled: str | None = None
    """'no step for 130 s', where that is far longer than usual."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    stages: Sequence[StageView] = ()
    healed: Sequence[Healed] = ()
    """What it went on from by itself, oldest first."""
    alerts: Sequence[Alert] = ()
    """What a person should know of, the oldest first, seen or not."""
    card: Card | None = None
    """Of a run that has ended and did not finish: why."""
    looked_at: tuple[tuple[int, int] | None, float] = (None, 1.0)
    """The steps that the curves are of, None for all, and how much they were smoothed: as CurvesWanted had it."""
    curves: Mapping[str, Curve] = field(default_factory=dict)
    smoothed: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Of the series that jump, such as train/loss: a smoothed value for each step of the curve."""
    clock: tuple[Sequence[float], Sequence[float]] = ((), ())
    """Steps, and how many seconds after the run's start each was recorded."""
    baseline: float | None = None
    """The untouched model's perplexity."""
    best: MetricRow | None = None
    """The lowest perplexity after step 0."""
    devices: Sequence[DeviceView] = ()
    gpu_curves: Sequence[GpuCurve] = ()
    """Over the whole run, while somebody looks at them."""
    read_at: float | None = None
    """When the devices were last read."""
    log: Sequence[str] = ()
    """The last lines of it."""
    log_levels: Sequence[int] = ()
    """One of tuiftune.tui.log_levels for each of them."""
    log_first: int = 0
    """Which number the first of them has: lines that were let go are counted too."""
    log_name: str = "worker.log"
    samples: Sequence[PromptSamples] = ()
    summary: RunSummary | None = None
    """Once the run has ended."""
    model: Path | None = None
    """The finished model's folder, once it is there."""

    @property
    def readings(self) -> Readings:
        """For what shows the devices alone."""
        age = None if self.read_at is None else self.now - self.read_at
        return Readings(self.devices, age, self.state.active)

    @property
    def elapsed_s(self) -> float | None:
        """Of this attempt, to its end or to now; None where nobody saw the end."""
        end = self.now if self.state.active else self.state.ended
        return None if end is None else max(0.0, end - self.began)

    @property
    def made_up(self) -> bool:
        """The figures are a demonstration's."""
        return bool(self.facts.get("made_up", False))

    @property
    def mfu(self) -> float | None:
        """Model FLOPs utilisation: the share of the devices' peak that the speed of now makes use of; None where the
        peak is not known (a CPU, float32, a GPU that is not listed)."""
        smoothed = self.smoothed.get("train/tokens_per_s")
        speed = smoothed[-1] if smoothed else self.last("train/tokens_per_s")
        a_token, peak = self.facts.get("flops_per_token"), self.facts.get("peak_flops")
        if speed is None or not isinstance(a_token, int | float) or not isinstance(peak, int | float) or peak <= 0:
            return None
        return speed * a_token / peak

    def last(self, series: str) -> float | None:
        """The newest value of a series."""
        curve = self.curves.get(series)
        return curve.means[-1] if curve else None


@dataclass
class MachineRead(Message):
    """This machine, read out while no run's own readings are shown."""

    devices: Sequence[DeviceView]
    processes: Sequence[ProcessView]
    age_s: float | None
    problem: str | None
    """Why there are no new readings."""


@dataclass
class RunSnapshot(Message):
    """A new look at the run that is followed."""

    view: RunView

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, RunSnapshot)


@dataclass
class RunGone(Message):
    """The folder of the run that is followed was deleted or cannot be read."""

    run: Run
    reason: str


@dataclass
class RunsChanged(Message):
    """The runs of the workspace, newest first."""

    runs: Sequence[RunSummary]

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, RunsChanged)


@dataclass
class CatalogLoaded(Message):
    """Profiles and plugins; `error` says why there are none."""

    catalog: Catalog | None
    error: str | None = None

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, CatalogLoaded)


@dataclass
class ProfileResolved(Message):
    """A profile was checked and may be started."""

    resolved: ResolvedProfile
    overrides: Sequence[str] = ()
    wanted: object = None
    """What was to be started."""


@dataclass
class CurvesWanted(Message):
    """Curves are looked at otherwise: only these steps (None: all), smoothed so many times as long as usual."""

    window: tuple[int, int] | None
    smoothing: float


@dataclass
class GpusWanted(Message):
    """What the GPUs did over the whole run is looked at, or is not any more."""

    wanted: bool


@dataclass
class AlertsSeen(Message):
    """Somebody has read these alerts of a run."""

    run: Run
    keys: Sequence[str]


@dataclass
class GoTo(Message):
    """Another place is wanted (tuiftune.tui.places), about a subject: a profile's name, a run's id."""

    place: str
    subject: str | None = None


@dataclass
class RerunAsked(Message):
    """A run is wanted once more, with changes that are asked for."""

    run: Run


@dataclass
class RunStarted(Message):
    """A run was started, or goes on again."""

    run: Run


@dataclass
class RunsQueued(Message):
    """Runs that wait for their turn, in this order."""

    runs: Sequence[Run]


@dataclass
class ActionFailed(Message):
    """Something that was asked for could not be done."""

    title: str
    lines: Sequence[str]
    """Every reason, a sentence each."""


@dataclass
class ActionDone(Message):
    """Something that was asked for was done."""

    title: str
    sentence: str


@dataclass
class PlanKnown(Message):
    """Whether a profile fits and how long it takes; without a plan, a sentence on why, or that it is being made."""

    profile: str
    plan: Mapping[str, Any] | None
    """See tuiftune.planned.plan_line."""
    sentence: str = ""

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, PlanKnown) and message.profile == self.profile
