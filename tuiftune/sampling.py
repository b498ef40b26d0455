"""How the next token is chosen when a model writes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sampling:
    """The defaults are those of `tuiftune generate`."""

    max_new_tokens: int = 200
    temperature: float = 0.8
    """0 takes the likeliest token each time."""
    top_k: int = 50
    """Only among so many likeliest tokens; 0 for all."""
    top_p: float = 1.0
    """Only among the likeliest tokens that together have this probability; 1 for all."""
