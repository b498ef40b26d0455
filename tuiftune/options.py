"""What a profile may say: the base of every stage's options, and the sections the core reads."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tuiftune import units
from tuiftune.errors import TuiftuneError

__all__ = ["Field", "ModelOptions", "Options", "RunOptions"]


class Options(BaseModel):
    """Base of a stage's options: unknown keys are refused, types are strict, values do not change."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ModelOptions(Options):
    """The `[model]` table: which causal language model is trained."""

    name: str | None = Field(
        None,
        description="Hugging Face id or folder of the model; a relative folder is looked up from the workspace",
    )
    tokenizer: str | None = Field(None, description="id or folder of the tokenizer; the model's own when left out")
    init: Literal["pretrained", "scratch"] = Field(
        "pretrained", description="start from the model's weights, or from random ones made from model.config"
    )
    config: dict[str, Any] = Field(
        default_factory=dict,
        description="for init = 'scratch': values of the Hugging Face config, e.g. n_layer, laid over the config of "
        "model.name; with a model_type they stand alone",
    )
    revision: str | None = Field(None, description="branch, tag or commit of a hub model")
    trust_remote_code: bool = Field(
        False, description="run Python code that comes with the model; only for models you have read"
    )


def _size(text: str) -> str:
    try:
        units.parse_size(text, least=0)
    except TuiftuneError as error:
        raise ValueError(str(error)) from error
    return text


Size = Annotated[str, AfterValidator(_size)]
"""An amount of memory or disk: '12GiB', '800MiB', '12GB', '0' or a number of bytes."""


class RunOptions(Options):
    """The `[run]` table: what the supervisor is told."""

    keep_checkpoints: int = Field(
        2, ge=1, description="newest checkpoints kept; older ones are removed once a newer one is sealed"
    )
    keep_best: bool = Field(
        True, description="also write a checkpoint after each evaluation with a lower loss than ever, and keep the best"
    )
    devices: str | None = Field(
        None,
        description="GPUs the run may use, as CUDA_VISIBLE_DEVICES takes them: '0', '0,1' or UUIDs; "
        "an empty text hides them all",
    )
    wait_for_vram: Size | None = Field(
        None, description="of a queued run: start only where so much memory of its GPU is free, e.g. '8GiB'"
    )
    wait_for_others: bool = Field(
        True, description="of a queued run: wait for other programs that compute on its GPU, another user's too"
    )
    stop_grace: float = Field(
        120.0,
        gt=0,
        json_schema_extra={"unit": "s"},
        description="seconds a stop may take for its checkpoint before the worker is killed",
    )
    disk_reserve: Size = Field(
        "256MiB",
        description="room kept free on the run's disk: a checkpoint that would take of it is not written before there "
        "is more; the run waits",
    )
    checkpoint_space: Size | None = Field(
        None,
        description="most disk space for checkpoints: beyond it the oldest are removed, never the newest or the best",
    )
    max_restarts: int = Field(
        3,
        ge=0,
        description="times a worker that crashed is started again without having come any further",
    )
    max_temperature: float | None = Field(
        None,
        gt=0,
        json_schema_extra={"unit": "°C"},
        description="degrees Celsius of a GPU of the run above which it is held until the GPU has cooled",
    )
