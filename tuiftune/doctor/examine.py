"""Look at everything; what takes long at the same time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tuiftune.doctor import gpu, hub, machine, software, terminal, torch_build
from tuiftune.doctor.finding import GROUPS, Finding
from tuiftune.doctor.probes import NVML_S, TORCH_S, Answer, ask
from tuiftune.run import process
from tuiftune.run.folder import list_runs
from tuiftune.run.worker_start import MARK


def examine(workspace: Path) -> list[Finding]:
    """All findings, by group. Takes some seconds: as long as torch takes to be imported."""
    with ThreadPoolExecutor() as pool:
        driver = pool.submit(ask, "tuiftune.doctor.nvml_probe", NVML_S)
        torch = pool.submit(ask, "tuiftune.doctor.torch_probe", TORCH_S)
        reach = pool.submit(lambda: list(hub.findings()))
        found: list[Finding] = [*machine.findings(workspace), *terminal.findings(), *software.findings()]
        found += reach.result()
        nvml = driver.result()
        found += gpu.findings(nvml, dict(own_processes(workspace, pids_of(nvml))))
        found += torch_build.findings(torch.result(), nvml.facts)
    return sorted(found, key=lambda finding: GROUPS.index(finding.group))


def pids_of(nvml: Answer) -> set[int]:
    """Of all processes on the GPUs."""
    return {int(one["pid"]) for card in nvml.facts.get("gpus", ()) for one in card.get("processes", ())}


def own_processes(workspace: Path, pids: Iterable[int]) -> Iterator[tuple[int, str]]:
    """(pid, run's id) of those that belong to this workspace's runs."""
    wanted = set(pids)
    for run in list_runs(workspace) if wanted else ():
        for one in process.marked(MARK, str(run.path)):
            if one.pid in wanted:
                yield one.pid, run.id
