"""A prompt, and what a run's model writes after it beside the untouched one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container, Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from tuiftune.run.files import write_text
from tuiftune.run.folder import ACTIVE
from tuiftune.run.playable import Offered, Subject, look, offered
from tuiftune.run.played import Played
from tuiftune.run.playing import BASE, TUNED, Player, Playing, Question
from tuiftune.run.summary import RunSummary
from tuiftune.text import plain
from tuiftune.tui.palette import MORE
from tuiftune.tui.panes.answers import AnswerPane
from tuiftune.tui.panes.asked import AskedPane
from tuiftune.tui.panes.settings import SettingsPane
from tuiftune.tui.panes.subject import SubjectPane
from tuiftune.tui.places import PLACES
from tuiftune.tui.screens.ask import AskScreen
from tuiftune.tui.screens.choose_model import Choice, ChooseModelScreen, figures
from tuiftune.tui.screens.place import Place
from tuiftune.tui.screens.problems import ProblemsScreen
from tuiftune.tui.widgets.glyphs import short_path
from tuiftune.tui.widgets.prompt import Prompt

NOTICE_S = 6.0
LOOK_EVERY_S = 10.0
"""A run that trains has another checkpoint now and then."""


@dataclass
class SubjectRead(Message):
    """What the questions go to was looked up."""

    subject: Subject

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, SubjectRead)


@dataclass
class ModelsRead(Message):
    """The runs and models that can be chosen."""

    offered: Sequence[Offered]


@dataclass
class Wrote(Message):
    """How far the answers are."""

    playing: Playing

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Wrote)


@dataclass
class Copied(Message):
    """A text went to a file too, or why it did not."""

    text: str
    where: str
    problem: str = ""


class PlaygroundScreen(Place):
    """Asks a process of its own (tuiftune.run.playing); this screen draws what it hears."""

    TITLE = "playground"
    help_text: ClassVar[str] = (
        "Try the models of a run: its checkpoints, also while it trains, and the finished one. What was asked and "
        "answered is kept in the run's folder: tuiftune generate RUN --history prints it. The models are held by a "
        "process of their own, which gives its memory back after ten minutes without a question, when a run starts, "
        "and when you leave the dashboard."
    )
    AUTO_FOCUS = "Prompt"
    BINDINGS = [
        *(
            Binding(f"f{place.key},alt+{place.key}", f"app.go({place.name!r})", show=False, priority=True)
            for place in PLACES
        ),
        Binding("escape", "stop", "Stop"),
        Binding("escape", "leave_prompt", "Leave prompt"),
        Binding("enter", "type", "Prompt"),
        Binding("i,slash", "type", show=False),
        Binding("tab", "settings", "Settings"),
        Binding("ctrl+o", "choose", "Model"),
        Binding("ctrl+n", "other_seed", "Other seed"),
        Binding("ctrl+y", "copy", "Copy"),
        Binding("ctrl+b", "base", "Base"),
        Binding("ctrl+x", "free", "Give the memory of the models back", show=False, id=f"{MORE}free"),
        Binding("pageup", "scroll(-1)", "Scroll up", show=False, id=f"{MORE}up"),
        Binding("pagedown", "scroll(1)", "Scroll down", show=False, id=f"{MORE}down"),
    ]
    CSS = """
    PlaygroundScreen {
        & #answers { height: 1fr; padding: 0 1; layout: horizontal; margin: 1 0 0 0; }
        & #base { padding: 0 2 0 0; }
        & #base.-off { display: none; }
        & AskedPane { border-top: solid $foreground 20%; }
        & SettingsPane { border-top: solid $foreground 20%; height: 2; }
        & SettingsPane:focus { border-top: solid $primary; }
        & #asked { height: auto; padding: 0 1; margin: 0 0 1 0; }
        & #mark { width: 2; height: 1; color: $text-accent; text-style: bold; }
        &.-tiny #answers { layout: vertical; margin: 0; }
        &.-tiny #base { padding: 0; }
        &.-flat #asked { margin: 0; }
        &.-flat Prompt { max-height: 1; }
        &.-flat #answers { margin: 0; }
        &.-flat SettingsPane { display: none; }
        &.-tiny.-flat #base { display: none; }
        &.-tall #asked, &.-high #asked { margin: 1 0; }
        &.-tall AskedPane { display: block; height: 8; }
        &.-high AskedPane { display: block; height: 16; }
    }
    """

    def __init__(self, workspace: Path | None = None) -> None:
        super().__init__(workspace)
        self._subject = Subject()
        self._chosen: str | None = None
        """The model that was asked for; None: the finished one, else the newest checkpoint."""
        self._playing: Playing | None = None
        self._history: list[Played] = []
        self._looked_at = 0.0
        self._active: set[str] | None = None
        """The runs at work when it was last told."""
        self.player = Player(lambda playing: self.post_message(Wrote(playing)))
        self.about_pane = SubjectPane()
        self.base = AnswerPane(id="base")
        self.tuned = AnswerPane(id="tuned")
        self.asked = AskedPane()
        self.settings = SettingsPane()
        self.prompt = Prompt()

    def body(self) -> ComposeResult:
        yield self.about_pane
        with Container(id="answers"):
            yield self.base
            yield self.tuned
        yield self.asked
        yield self.settings
        with Horizontal(id="asked"):
            yield Static(Content(">"), id="mark")
            yield self.prompt

    def on_mount(self) -> None:
        self._draw()

    def on_unmount(self) -> None:
        self.player.close()

    # ---------------------------------------------------------------------------------- what it is about

    def about(self, subject: str | None) -> None:
        """A run's id; else the run that was chosen before, else the newest that has a model."""
        now = self._subject.run
        if subject is not None and (now is None or subject != now.id):
            self._look(subject, None)
        else:
            self._look(now.id if now else None, self._chosen)

    def _look(self, run_id: str | None, wanted: str | None) -> None:
        self._chosen, self._looked_at = wanted, time.monotonic()
        self._look_up(run_id, wanted)

    @work(thread=True, exit_on_error=False, exclusive=True, group="subject")
    def _look_up(self, run_id: str | None, wanted: str | None) -> None:
        self.post_message(SubjectRead(look(self.workspace, run_id, wanted)))

    @on(SubjectRead)
    def _read(self, message: SubjectRead) -> None:
        before, self._subject = self._subject, message.subject
        self._history = list(message.subject.history)
        if before.run != message.subject.run:
            if not self.player.is_writing:
                self._playing = None
            self.prompt.remember(message.subject.prompts)
        if message.subject.note:
            self._chosen = None
            self.notify(message.subject.note, severity="warning", timeout=NOTICE_S, markup=False)
        self._draw()

    def show_runs(self, runs: Sequence[RunSummary]) -> None:
        """A run that starts needs the memory more than a model that nobody asks."""
        active = {run.id for run in runs if run.state in ACTIVE and run.state != "queued"}
        started = self._active is not None and bool(active - self._active)
        self._active = active
        if started and self.player.has_process and not self.player.is_writing:
            self._free()
        run = self._subject.run
        at_work = run is None or run.id in active or self._subject.state in ACTIVE
        if self.app.screen is self and at_work and time.monotonic() - self._looked_at > LOOK_EVERY_S:
            self._look(run.id if run else None, self._chosen)

    def _draw(self) -> None:
        if not self.is_mounted:
            return
        subject, playing = self._subject, self._playing
        self.about_pane.show(subject)
        self.asked.show(self._history)
        with_base = self.settings.settings.base and subject.model is not None
        self.base.set_class(not with_base, "-off")
        hint = "Type a prompt and press Enter." if subject.model else subject.problem or "looks for models..."
        answers = playing.answers if playing else {}
        tuned, base = answers.get(TUNED), answers.get(BASE)
        model = tuned.model if tuned else subject.model.name if subject.model else ""
        known = figures(subject.model) if subject.model and subject.model.name == model else ""
        self.tuned.introduce([model, known], hint)
        self.base.introduce(["base model", base.model if base else subject.base or ""], subject.base_problem)
        prompt = playing.question.prompt if playing else ""
        for who, pane in ((TUNED, self.tuned), (BASE, self.base)):
            pane.show(prompt, answers.get(who))
        self.refresh_bindings()

    # -------------------------------------------------------------------------------------- what is asked

    @on(Prompt.Submitted)
    def _submitted(self, message: Prompt.Submitted) -> None:
        self._ask(message.text)

    def _ask(self, prompt: str) -> None:
        subject, settings = self._subject, self.settings.settings
        asks = subject.asks(settings.base)
        if not asks:
            self.notify(subject.problem or "no model is chosen yet", timeout=NOTICE_S, markup=False)
            return
        self.prompt.add(prompt)
        self._put(Question(prompt, asks, settings.sampling, settings.seed, settings.device, subject.run))

    @work(thread=True, exit_on_error=False, group="ask")
    def _put(self, question: Question) -> None:
        self.player.ask(question)

    @on(Wrote)
    def _wrote(self, message: Wrote) -> None:
        before, self._playing = self._playing, message.playing
        if message.playing.over and message.playing.kept is not None:
            self._history.append(message.playing.kept)
        if before is None or before.question is not message.playing.question or message.playing.over:
            self._draw()
        else:
            for who, pane in ((TUNED, self.tuned), (BASE, self.base)):
                pane.show(message.playing.question.prompt, message.playing.answers.get(who))
        if message.playing.over and message.playing.problem:
            self.notify(message.playing.problem, severity="warning", timeout=NOTICE_S, markup=False)

    def action_other_seed(self) -> None:
        """Ask the same again, with the next seed."""
        settings = self.settings.settings
        self.settings.set(replace(settings, seed=settings.seed + 1))
        self._ask(self.prompt.text)

    def action_base(self) -> None:
        """Whether the base model answers too."""
        settings = self.settings.settings
        self.settings.set(replace(settings, base=not settings.base))

    @on(SettingsPane.Changed)
    def _set(self) -> None:
        self._draw()

    @on(SettingsPane.ValueWanted)
    def _type_value(self, message: SettingsPane.ValueWanted) -> None:
        setting, settings = message.setting, self.settings.settings

        def answered(text: str | None) -> None:
            if text is None:
                return
            try:
                self.settings.set(setting.changed(self.settings.settings, setting.parse(text)))
            except ValueError as error:
                self.app.push_screen(ProblemsScreen(f"{setting.name} is as it was", [f"{text!r}: {error}"]))

        self.app.push_screen(AskScreen(setting.name, [setting.about], "", setting.shown(settings)), answered)

    # -------------------------------------------------------------------------------------- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not self.is_mounted:
            return True
        writing = self._playing is not None and not self._playing.over
        typing = self.focused is self.prompt
        if action == "stop":
            return writing
        if action == "leave_prompt":
            return typing and not writing
        if action == "type":
            return not typing
        if action == "settings":
            return typing and self.settings.display
        if action == "copy":
            return bool(self._text_to_copy())
        if action == "other_seed":
            return self._subject.model is not None
        return super().check_action(action, parameters)

    def action_stop(self) -> None:
        self.player.cancel()

    def action_leave_prompt(self) -> None:
        self.set_focus(None)

    def action_settings(self) -> None:
        self.settings.focus()

    def action_type(self) -> None:
        self.prompt.focus()

    def action_scroll(self, pages: int) -> None:
        self.tuned.scroll(pages)
        self.base.scroll(pages)

    def action_free(self) -> None:
        self._free()
        self.notify("the models are loaded again with the next question", title="Memory given back", timeout=NOTICE_S)

    @work(thread=True, exit_on_error=False, group="ask")
    def _free(self) -> None:
        self.player.close()

    @work(thread=True, exit_on_error=False, exclusive=True, group="choose")
    def action_choose(self) -> None:
        self.post_message(ModelsRead(offered(self.workspace)))

    @on(ModelsRead)
    def _choose(self, message: ModelsRead) -> None:
        if not message.offered:
            self.notify(self._subject.problem or "no run has a model yet", timeout=NOTICE_S, markup=False)
            return
        subject = self._subject
        current = (subject.run.id, subject.model.key) if subject.run and subject.model else None

        def answered(choice: Choice | None) -> None:
            if choice is not None:
                self._look(*choice)

        self.app.push_screen(ChooseModelScreen(message.offered, current), answered)

    def _text_to_copy(self) -> str:
        """The tuned model's, else the base model's, after the prompt."""
        playing = self._playing
        if playing is None:
            return ""
        texts = [playing.answers[who].text for who in (TUNED, BASE) if who in playing.answers]
        text = next(filter(None, texts), "")
        return f"{playing.question.prompt}{text}" if text else ""

    def action_copy(self) -> None:
        """To the terminal's clipboard, which may not listen, and to a file."""
        text = plain(self._text_to_copy(), 1_000_000)
        if text and self._playing is not None:
            self.app.copy_to_clipboard(text)
            self._keep_copy(text, self._playing)

    @work(thread=True, exit_on_error=False, exclusive=True, group="copy")
    def _keep_copy(self, text: str, playing: Playing) -> None:
        run = playing.question.run
        if run is None:
            return
        place = run.path / "playground.txt"
        try:
            write_text(place, text + "\n")
        except OSError as error:
            self.post_message(Copied(text, "", f"{place}: cannot be written: {error.strerror}"))
        else:
            self.post_message(Copied(text, short_path(str(place))))

    @on(Copied)
    def _copied(self, message: Copied) -> None:
        words = f"Where the terminal takes it (OSC 52). Also in {message.where}" if message.where else message.problem
        self.notify(words, title=f"Copied {len(message.text):,} characters", timeout=NOTICE_S, markup=False)
