"""That a resumed run goes on as the one that stopped: what each checkpoint says it comes from, and a comparison."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tuiftune import __version__
from tuiftune.run.files import write_json

PROOF = "proof.json"
PACKAGES = ("torch", "transformers", "datasets", "tokenizers")
SOFT = (
    "batch_tokens", "gradient_checkpointing", "compile", "eval_every", "save_every", "log_every", "sample_every",
    "nan_steps", "early_stopping",
)  # fmt: skip
"""Of `[train]`: they change what is looked at, or how a step is cut, not which steps there are."""
NOT_COMPARED = ("run", "description", "extends")
SHOWN = 3
"""So many differences are told; of more, how many."""


@dataclass(frozen=True)
class Proof:
    """What a checkpoint comes from."""

    profile: Mapping[str, Any] = field(default_factory=dict)
    """Dotted key -> value, of the effective profile."""
    data: str = ""
    """Fingerprint of the prepared rows."""
    versions: Mapping[str, str] = field(default_factory=dict)
    device: str = ""


@dataclass(frozen=True)
class Verdict:
    """How a checkpoint and the run as it is now compare."""

    agree: list[str]
    """Of 'profile', 'data', 'code', 'position'."""
    refused: list[str]
    """Differences that make another training of it, each a sentence without its full stop."""
    noted: list[str]
    """Differences that may change the last bits, or only what is looked at."""

    @property
    def sentence(self) -> str:
        """`profile, data, code and position agree with step-000120`, without the name."""
        if not self.agree:
            return "nothing is known to agree"
        *most, last = self.agree
        return f"{', '.join(most)} and {last} agree" if most else f"{last} agrees"


def proof_of(profile: Mapping[str, Any], data: str) -> Proof:
    """Of a run as it is now. `profile`: the effective one, as a table."""
    return Proof(dict(_flat(profile)), data, _versions(), _device())


def write_proof(folder: Path, proof: Mapping[str, Any], step: int) -> None:
    write_json(folder / PROOF, {**proof, "step": step})


def as_json(proof: Proof) -> dict[str, Any]:
    return asdict(proof)


def read_proof(checkpoint: Path) -> tuple[Proof, int] | None:
    """What a checkpoint says, and its step; None for one that says nothing (an older version's)."""
    try:
        data = json.loads((checkpoint / PROOF).read_text(encoding="utf-8"))
        found = Proof(dict(data["profile"]), str(data["data"]), dict(data["versions"]), str(data["device"]))
        return found, int(data["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def compare(then: Proof, now: Proof, step: int, step_then: int) -> Verdict:
    """`step`: by the checkpoint's name."""
    agree, refused, noted = [], [], []
    hard, soft = _profile_differences(then.profile, now.profile)
    if hard:
        refused.append(f"the profile is another than this run was begun with: {_some(hard)}")
    if soft:
        noted.append(f"the profile differs in what does not change the steps: {_some(soft)}")
    if not hard and not soft:
        agree.append("profile")
    if then.data == now.data:
        agree.append("data")
    else:
        refused.append("the data is no longer what this run began with, so it cannot go on where it was")
    other = [
        f"{name} {then.versions.get(name, 'none')} -> {now.versions.get(name, 'none')}"
        for name in sorted({*then.versions, *now.versions})
        if then.versions.get(name) != now.versions.get(name)
    ]
    if then.device != now.device:
        other.append(f"device {then.device} -> {now.device}")
    if other:
        noted.append(f"other versions or another device, so the last bits may differ: {_some(other)}")
    else:
        agree.append("code")
    if step == step_then:
        agree.append("position")
    else:
        refused.append(f"the checkpoint is of step {step_then}, not {step}")
    return Verdict(agree, refused, noted)


def _profile_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    hard: list[str] = []
    soft: list[str] = []
    for key in sorted({*then, *now}):
        if then.get(key) == now.get(key):
            continue
        table, _, name = key.partition(".")
        told = f"{key} {_shown(then.get(key))} -> {_shown(now.get(key))}"
        (soft if table == "evaluate" or (table == "train" and name in SOFT) else hard).append(told)
    return hard, soft


def _shown(value: Any) -> str:
    text = "unset" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:39] + "…"


def _some(differences: list[str]) -> str:
    more = len(differences) - SHOWN
    return ", ".join(differences[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys of a table; of a list of tables (the preprocess stages) with their number."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if key or name not in NOT_COMPARED:
                yield from _flat(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
        for number, inner in enumerate(value):
            yield from _flat(inner, f"{key}.{number}")
    else:
        yield key, value


def _versions() -> dict[str, str]:
    found = {"tuiftune": __version__, "python": sys.version.split()[0]}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _device() -> str:
    """The name of the GPU where torch is loaded and sees one, else 'cpu'."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return "cpu"
    return str(torch.cuda.get_device_name())
