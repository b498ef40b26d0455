"""How many tokens a model takes in one row, by its config."""

from __future__ import annotations

from typing import Any


def position_limit(config: Any) -> int | None:
    """How many tokens a row may have; None where the model sets no limit."""
    text = config.get_text_config(decoder=True)  # of a model that also sees pictures
    for name in ("max_position_embeddings", "max_seq_len"):
        limit = getattr(text, name, None)
        if isinstance(limit, int) and limit > 0:
            return limit
    return None
