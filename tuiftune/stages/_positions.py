"""How many tokens a model can take at once, and the sentence for rows that are longer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuiftune.errors import StageError
from tuiftune.paths import resolve_path

if TYPE_CHECKING:
    from tuiftune.stage import Context


def check_length(option: str, length: int, ctx: Context, tokenizer: Any = None) -> None:
    """Raise StageError where rows of `length` tokens, as `option` asks, do not fit the model."""
    limit = position_limit(ctx, tokenizer)
    if limit is not None and length > limit:
        raise StageError(
            f"{option} is {length:,}, but the model takes at most {limit:,} tokens. Set it with: --set {option}={limit}"
        )


def position_limit(ctx: Context, tokenizer: Any = None) -> int | None:
    """The most tokens the model of the profile takes in one row; None where its config does not say."""
    from tuiftune.training import positions

    config = _config(ctx, tokenizer)
    return None if config is None else positions.position_limit(config)


def _config(ctx: Context, tokenizer: Any) -> Any:
    from transformers import AutoConfig

    from tuiftune.training.model import load_tokenizer, only_cached, scratch_config

    model = ctx.model
    if model.init == "scratch" and (model.name or "model_type" in model.config):
        return scratch_config(model, ctx.workspace, tokenizer or load_tokenizer(model, ctx.workspace))
    if model.init == "scratch" or not model.name:
        return None
    path = resolve_path(model.name, ctx.workspace)
    folder = path if path.is_dir() else None
    try:
        return AutoConfig.from_pretrained(
            str(folder or model.name),
            revision=model.revision,
            trust_remote_code=model.trust_remote_code,
            **only_cached(folder, model.name, model.revision),
        )
    except (OSError, ValueError, ImportError, KeyError):
        return None  # the trainer says why the model cannot be had; a tokenizer alone is enough here
