"""The config of the model a profile trains, where neither weights nor a tokenizer are needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tuiftune.errors import StageError
from tuiftune.options import ModelOptions
from tuiftune.paths import resolve_path
from tuiftune.training.model import _config_by_type, _named_config, load_tokenizer, scratch_config

if TYPE_CHECKING:
    from transformers import PretrainedConfig


TRANSFORMERS_DEFAULTS = {"gpt2": "gpt2", "openai-community/gpt2": "gpt2"}
"""Models of the hub whose config is what transformers takes when it is told nothing: they need no network."""


def planned_config(model: ModelOptions, workspace: Path) -> PretrainedConfig:
    """Of `[model]`; a folder with a config.json is enough. Raises StageError where it cannot be had."""
    if model.init != "scratch":
        if model.name in TRANSFORMERS_DEFAULTS and not resolve_path(model.name, workspace).exists():
            return _config_by_type({"model_type": TRANSFORMERS_DEFAULTS[model.name]})
        if not model.name:
            raise StageError("model.name: no model is named. Set it with: --set model.name=FOLDER_OR_HUB_ID")
        if model.config:
            raise StageError("model.config: only read with model.init = 'scratch'. Remove one of them")
        return _named_config(model, workspace, {})
    if model.tokenizer and "vocab_size" not in model.config:  # its size is the tokenizer's
        return scratch_config(model, workspace, load_tokenizer(model, workspace))
    if model.name and "model_type" not in model.config:
        return _named_config(model, workspace, dict(model.config))
    return _config_by_type(dict(model.config))
