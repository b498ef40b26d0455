"""What `tuiftune doctor` finds, on this machine and on ones that a driver's stand-in and torch's own words describe."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tuiftune.doctor import gpu, hub, machine, terminal, torch_build
from tuiftune.doctor.finding import BAD, GOOD, GROUPS, WARNING, Finding
from tuiftune.doctor.frame import frame
from tuiftune.doctor.probes import Answer, ask

CommandLine = Callable[..., subprocess.CompletedProcess[str]]
ADA = {"name": "RTX 4070 Ti", "capability": [8, 9], "bf16": True}
BUILT = {"version": "2.13.0+cu128", "cuda": "12.8", "hip": None, "available": True, "flash": True, "threads": 8}
KERNELS = ["sm_75", "sm_80", "sm_86", "sm_90", "compute_90"]


def nvml() -> Answer:
    return ask("tuiftune.doctor.nvml_probe", 20.0)


def by_name(found: Iterator[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in found}


def test_this_machine_is_looked_at_and_every_finding_that_is_not_good_has_a_remedy(command_line: CommandLine) -> None:
    done = command_line("doctor", "--json")
    found = json.loads(done.stdout)
    assert {finding["group"] for finding in found} == set(GROUPS)
    assert all(finding["remedy"] for finding in found if finding["level"] != GOOD)
    build = next(finding for finding in found if finding["group"] == "torch" and finding["name"] == "build")
    assert build["fact"].startswith("2.")
    assert done.returncode == int(any(finding["level"] == BAD for finding in found))


def test_a_bad_finding_is_exit_status_1_and_said_with_what_to_do(command_line: CommandLine, fake_gpus: Any) -> None:
    fake_gpus.set({"driver": "525.60.13", "gpu0.persistence": 0})
    done = command_line("doctor")
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert lines[0] == "GPU"
    at = next(number for number, line in enumerate(lines) if "525.60.13, for CUDA up to 12.4" in line)
    assert lines[at].split()[:2] == ["✗", "driver"]
    assert lines[at + 1].strip() == "→ update the driver to 535 or later"
    assert "sudo nvidia-smi -i 0 -pm 1" in done.stdout
    assert "for the CPU alone" in done.stdout, "a torch without CUDA beside a GPU"


def test_a_gpu_is_told_with_its_limits_and_who_else_is_on_it(fake_gpus: Any) -> None:
    fake_gpus.set(
        {
            "gpu0.name": "RTX 4070 Ti",
            "gpu0.compute": "8.9",
            "gpu0.power_limit": 200_000,
            "gpu0.power_default": 285_000,
            "gpu0.procs": f"{os.getpid()}:1073741824,{os.getppid()}:2147483648",
        }
    )
    found = by_name(gpu.findings(nvml(), {os.getppid(): "gpt2-20260101-000000-abc"}))
    assert found["GPU 0"].fact == "RTX 4070 Ti, 24.0 GiB, compute capability 8.9"
    assert found["GPU 0 persistence"].level == GOOD
    assert (found["GPU 0 power limit"].level, found["GPU 0 power limit"].fact) == (WARNING, "200 W of the card's 285 W")
    others = found["GPU 0 processes"]
    assert others.level == WARNING
    assert f"pid {os.getpid()} with 1.0 GiB" in others.fact
    assert str(os.getppid()) not in others.fact, "it belongs to a run"


@pytest.mark.parametrize(
    ("state", "limit_s", "words"),
    [
        ({"sleep_ms.nvmlInitWithFlags": 20_000}, 1.0, "did not answer within 1 s"),
        ({"crash.nvmlDeviceGetTemperatureV": 1}, 20.0, "ended"),
        ({"error.nvmlInitWithFlags": 18}, 20.0, "restart the machine"),
    ],
)
def test_a_driver_that_hangs_crashes_or_refuses_is_a_finding(
    fake_gpus: Any, state: dict[str, int], limit_s: float, words: str
) -> None:
    fake_gpus.set(state)
    (found,) = gpu.findings(ask("tuiftune.doctor.nvml_probe", limit_s), {})
    assert found.level == BAD
    assert words in f"{found.fact} {found.remedy}"


def test_torch_is_held_against_the_driver_and_the_card() -> None:
    def found(more: dict[str, Any], cuda: list[int]) -> dict[str, Finding]:
        facts = {**BUILT, "built_for": KERNELS, "gpus": [ADA], **more}
        return by_name(torch_build.findings(Answer(facts), {"cuda": cuda, "gpus": [{}]}))

    good = found({}, [12, 4])
    assert {one.level for one in good.values()} == {GOOD}, "a newer minor version of CUDA runs"
    assert found({"cuda": "13.0"}, [12, 4])["build"].level == BAD
    assert found({"cuda": None, "available": False}, [12, 4])["build"].level == BAD
    assert found({"available": False}, [12, 4])["GPUs"].fact == "torch sees none of the driver's GPUs"
    old = found({"gpus": [{"name": "GTX 1080", "capability": [6, 1], "bf16": False}]}, [12, 4])
    assert old["GPU 0 kernels"].level == BAD
    assert old["GPU 0 bf16"].level == old["GPU 0 flash attention"].level == WARNING
    (broken,) = torch_build.findings(Answer({"problem": "OSError: libcudart.so.12"}), {})
    assert (broken.level, broken.fact) == (BAD, "torch: OSError: libcudart.so.12")


@pytest.mark.parametrize(
    ("capability", "built_for", "runs"),
    [
        ((8, 9), ["sm_80", "sm_86"], True),
        ((8, 0), ["sm_86"], False),
        ((9, 0), ["sm_80"], False),
        ((12, 0), ["sm_80", "compute_90"], True),
        ((9, 0), ["sm_90a"], True),
        ((8, 6), [], False),
    ],
)
def test_kernels_run_within_their_major_version_and_ptx_from_it_on(
    capability: tuple[int, int], built_for: list[str], runs: bool
) -> None:
    assert torch_build.runs_on(capability, built_for) is runs


def test_a_file_system_over_the_network_is_told_by_its_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nhost:/home {tmp_path / 'home'} nfs4 rw 0 0\n")
    assert machine.file_system_of(tmp_path / "home" / "me" / "runs", mounts) == "nfs4"
    assert machine.file_system_of(tmp_path / "homes", mounts) == "ext4"
    assert machine.file_system_of(tmp_path, tmp_path / "none") is None


def test_a_hub_that_answers_and_one_that_does_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Nothing(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "hub" / "models--gpt2").mkdir(parents=True)
    with http.server.HTTPServer(("127.0.0.1", 0), Nothing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        found = by_name(hub.findings())
        server.shutdown()
    assert found["reach"].level == GOOD
    assert f"{tmp_path / 'hub'}: 1 model, " in found["cache"].fact
    gone = by_name(hub.findings())
    assert gone["reach"].level == WARNING
    assert "HTTPS_PROXY" in gone["reach"].remedy


def test_a_terminal_is_told_as_the_dashboard_will_find_it(
    monkeypatch: pytest.MonkeyPatch, open_terminal: Callable[..., Any], workspace: Path
) -> None:
    command = [sys.executable, "-P", "-m", "tuiftune.cli", "doctor"]
    shown = open_terminal(command, workspace, 70, 60)
    assert shown.wait() == 0
    words = shown.wait_for("size", "70 x 60", "make it 80 x 24 or larger", "UTF-8")
    assert "terminal" in words
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115
    (none,) = terminal.findings()
    assert none.fact.startswith("none here")


def test_a_frame_is_no_wider_than_the_terminal() -> None:
    found = [Finding("GPU", "driver", BAD, "a fact " * 20, "a remedy " * 20), Finding("hub", "reach", GOOD, "yes")]
    lines = frame(found, 60).splitlines()
    assert max(map(len, lines)) <= 60
    assert lines[-1] == "1 good, 0 warnings, 1 bad"
