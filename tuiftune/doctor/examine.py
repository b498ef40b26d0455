"""Look at everything; what takes long at the same time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tuiftune.doctor import gpu, hub, machine, software, terminal, torch_build
from tuiftune.doctor.finding import GROUPS, Finding
from tuiftune.doctor.probes import NVML_S, TORCH_S, Answer, ask
from tuiftune.run.machine_processes import run_of


def examine(workspace: Path) -> list[Finding]:
    """All findings, by group. Takes some seconds: as long as torch takes to be imported."""
    with ThreadPoolExecutor() as pool:
        driver = pool.submit(ask, "tuiftune.doctor.nvml_probe", NVML_S)
        torch = pool.submit(ask, "tuiftune.doctor.torch_probe", TORCH_S)
        reach = pool.submit(lambda: list(hub.findings()))
        found: list[Finding] = [*machine.findings(workspace), *terminal.findings(), *software.findings()]
        found += reach.result()
        nvml = driver.result()
        found += gpu.findings(nvml, dict(own_processes(pids_of(nvml))))
        found += torch_build.findings(torch.result(), nvml.facts)
    return sorted(found, key=lambda finding: GROUPS.index(finding.group))


def pids_of(nvml: Answer) -> set[int]:
    """Of all processes on the GPUs."""
    return {int(one["pid"]) for card in nvml.facts.get("gpus", ()) for one in card.get("processes", ())}


def own_processes(pids: Iterable[int]) -> Iterator[tuple[int, str]]:
    """(pid, run's id) of those that belong to a run of this user."""
    for pid in pids:
        run = run_of(pid)
        if run is not None:
            yield pid, run
