"""Which throttle reasons become alerts, when one starts and when it has ended."""

from __future__ import annotations

from tuiftune.run.throttling import Throttling, reasons_in
from tuiftune.telemetry import throttle_text


def fed(*samples: tuple[float, str | None], device: str = "gpu0") -> list[tuple[str, str, str]]:
    """The alerts that (time, throttle) samples give, as (device, reason, phase)."""
    throttling = Throttling()
    alerts = [alert for when, text in samples for alert in throttling.look(when, {device: {"throttle": text}})]
    return [(alert["device"], alert["reason"], alert["phase"]) for alert in alerts]


def test_every_reason_that_means_heat_or_power_is_told_by_its_own_words() -> None:
    assert reasons_in(throttle_text(0x004 | 0x020 | 0x040)) == ["heat, by hardware", "heat", "power limit"]
    assert reasons_in(throttle_text(0x020)) == ["heat"]
    assert reasons_in(throttle_text(0x040)) == ["heat, by hardware"]
    assert reasons_in(throttle_text(0x080 | 0x200)) == ["power brake", "board limit"]
    assert reasons_in(throttle_text(0x008)) == ["slowed by hardware"]
    assert reasons_in(throttle_text(0x400)) == []
    assert reasons_in(throttle_text(0)) == []


def test_a_reason_that_stays_is_told_once_when_it_starts_and_once_when_it_has_ended() -> None:
    hot = [(float(second), "heat") for second in range(60)]
    cool = [(60.0 + second, "") for second in range(30)]
    assert fed(*hot, *cool) == [("gpu0", "heat", "start"), ("gpu0", "heat", "end")]


def test_a_flicker_is_no_alert_and_a_short_break_is_no_end() -> None:
    assert fed(*((float(second), "power limit" if second % 2 else "") for second in range(60))) == []
    broken = [(float(second), "" if 20 <= second < 25 else "heat") for second in range(60)]
    assert fed(*broken) == [("gpu0", "heat", "start")]


def test_a_gpu_that_does_not_tell_changes_nothing() -> None:
    assert fed(*((float(second), "heat" if second < 10 else None) for second in range(60))) == [
        ("gpu0", "heat", "start")
    ]


def test_the_sentence_names_the_gpu_and_how_long_it_was() -> None:
    throttling = Throttling()
    alerts = []
    for second in range(200):
        gpus = {"gpu0": {"throttle": "heat, power limit" if second <= 125 else ""}, "gpu1": {"throttle": ""}}
        alerts += throttling.look(1000.0 + second, gpus)
    assert [alert["text"] for alert in alerts] == [
        "gpu0 is slowed down: heat",
        "gpu0 is slowed down: power limit",
        "gpu0 is no longer slowed down (it was for 2 min 05 s): heat",
        "gpu0 is no longer slowed down (it was for 2 min 05 s): power limit",
    ]
    assert alerts[-1]["seconds"] == 125.0
    assert alerts[-1]["since"] == 1000.0


def test_a_clock_set_back_ends_nothing_that_goes_on_and_loses_no_end() -> None:
    hot = [*((float(second), "heat") for second in range(1000, 1010)), (10.0, "heat"), (11.0, "heat")]
    assert fed(*hot) == [("gpu0", "heat", "start")]
    assert fed(*hot, (12.0, "")) == [("gpu0", "heat", "start"), ("gpu0", "heat", "end")]
