"""python -m tuiftune.doctor.torch_probe: what torch was built for and what it sees, as JSON."""

from __future__ import annotations

import json
from typing import Any


def look() -> dict[str, Any]:
    """{"problem"} where torch cannot be imported, else what it is and its devices."""
    try:
        import torch
    except Exception as error:  # a library it needs is missing or of another version: whatever that raises
        return {"problem": f"{type(error).__name__}: {error}"}
    cuda = torch.cuda.is_available()
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        "available": cuda,
        "built_for": torch.cuda.get_arch_list() if cuda else [],
        "flash": bool(torch.backends.cuda.is_flash_attention_available()),
        "threads": torch.get_num_threads(),
        "gpus": [_gpu(torch, index) for index in range(torch.cuda.device_count())] if cuda else [],
    }


def _gpu(torch: Any, index: int) -> dict[str, Any]:
    with torch.cuda.device(index):
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return {
        "name": torch.cuda.get_device_name(index),
        "capability": list(torch.cuda.get_device_capability(index)),
        "bf16": bf16,
    }


if __name__ == "__main__":
    print(json.dumps(look()))
