"""What GPUs can do at most, by their makers' data sheets: for a guess at the time where nothing was measured, and for
the share of it that a run reaches (MFU)."""

from __future__ import annotations

ASSUMED_UTILISATION = 0.3
"""Of the peak: what plain torch reaches with a model of GPT-2's size on one GPU is some 0.2 to 0.5."""

HALF_PRECISION_TFLOPS = {
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "A10G": 70.0,
    "L4": 121.0,
    "V100": 125.0,
    "T4": 65.0,
    "RTX 4090": 165.0,
    "RTX 4080": 97.0,
    "RTX 4070 Ti": 80.0,
    "RTX 3090": 71.0,
}
"""Dense bf16 (V100 and T4: fp16) products added up in float32, 10^12 a second; the first that a name contains."""


def flops_per_token(parameters: int) -> int:
    """Operations that a model's training takes a token: 6 a parameter, forward and backward (Kaplan et al. 2020,
    'Scaling Laws for Neural Language Models'). Attention's own, which grow with the row, are left out."""
    return 6 * parameters


def peak_flops(device_name: str, precision: str) -> float | None:
    """Operations a second in bf16 or fp16; None for other precisions, and devices that are not listed."""
    if precision not in ("bf16", "fp16"):
        return None
    words = device_name.replace("-", " ").split()
    for name, tflops in HALF_PRECISION_TFLOPS.items():
        wanted = name.split()
        if any(words[start : start + len(wanted)] == wanted for start in range(len(words))):
            return tflops * 1e12
    return None
