"""What a training needs to go on: weights, the optimizer's averages and the place in the data, in a folder.

The random numbers of a step follow from seed and step, so there is no state of them to keep.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tuiftune.errors import StageError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

STATE = "training.pt"


def write_state(
    folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, state: dict[str, Any]
) -> None:
    """A Hugging Face model that can be generated from, and beside it `state`."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    torch.save(state, folder / STATE)


def read_state(folder: Path) -> dict[str, Any]:
    """Raises StageError where a checkpoint holds none."""
    path = folder / STATE
    if not path.is_file():
        raise StageError(
            f"{folder.name} has no {STATE}, so it was written by another version of tuiftune and training cannot go on "
            f"from it. Start a run from its weights: --set model.name={folder}"
        )
    # Mapped, and copied where it belongs: it is as large as two models. No pickled object but tensors and numbers.
    found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return found


@torch.no_grad()  # type: ignore[untyped-decorator]
def read_weights(model: PreTrainedModel, folder: Path) -> None:
    """Give the model the weights of a checkpoint. Raises StageError where they are not those of this model; then
    nothing has changed.

    By way of a second model, since what transformers writes has other names than `state_dict` for some
    architectures (GPT-NeoX, Mixtral).
    """
    loaded, report = type(model).from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, local_files_only=True, output_loading_info=True
    )
    ours, theirs = model.state_dict(), loaded.state_dict()
    missing = set(report["missing_keys"]) | (ours.keys() - theirs.keys())
    odd = {name for name, value in theirs.items() if name not in ours or ours[name].shape != value.shape}
    if missing or odd:
        raise StageError(
            f"the checkpoint is not of this model: {len(missing)} of its weights are not in it, and {len(odd)} others "
            "are. Was model.name changed? Start another run"
        )
    for name, value in theirs.items():
        ours[name].copy_(value)
