"""Let a model go on from a prompt, within its position limit, until it says that the text ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from tuiftune.errors import StageError
from tuiftune.sampling import Sampling
from tuiftune.training.positions import position_limit

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Written:
    """What a model wrote after a prompt."""

    text: str
    tokens: int
    """With the one that ended it, where one did."""
    ended: Literal["end", "length", "limit", "stopped"]
    """By the model itself; by as many tokens as were asked for, or as it takes; by a person."""


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """The tokens of `prompt`, ready to be continued: with BOS where the tokenizer adds one, never ended by EOS."""
    ids: list[int] = list(tokenizer(prompt).input_ids)
    while ids and ids[-1] == tokenizer.eos_token_id:
        ids.pop()
    # An empty prompt: the start of a text. GPT-2's BOS is its EOS, which is what stands before a text there.
    return ids or [tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id]


def continue_text(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ids: list[int],
    sampling: Sampling,
    streamer: Any = None,
) -> str:
    """The text that `write` has after `ids`."""
    return write(model, tokenizer, ids, sampling, streamer).text


def write(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ids: list[int],
    sampling: Sampling,
    streamer: Any = None,
    stopped: Callable[[], bool] | None = None,
) -> Written:
    """Go on from `ids` until the model ends the text, or `stopped`, asked after each token, says so.

    Draws from torch's random numbers: seed them before. Raises StageError where the prompt leaves no room for a token.
    """
    limit = position_limit(model.config)
    room = sampling.max_new_tokens if limit is None else min(sampling.max_new_tokens, limit - len(ids))
    if room < 1:
        raise StageError(f"the prompt has {len(ids):,} tokens, but the model takes {limit:,} with the answer")
    tokens = torch.tensor([ids], device=model.device)
    settings = _settings(model, tokenizer, sampling, room)
    with torch.no_grad():
        written = model.generate(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            generation_config=settings,
            streamer=streamer,
            **({"stopping_criteria": _stopping(stopped)} if stopped else {}),
        )
    new: list[int] = written[0, len(ids) :].tolist()
    ended: Literal["end", "length", "limit", "stopped"] = "stopped"
    if new and new[-1] in settings.eos_token_id:
        ended = "end"
    elif len(new) == room:
        ended = "length" if room == sampling.max_new_tokens else "limit"
    return Written(after_prompt(tokenizer, ids, new), len(new), ended)


def _stopping(stopped: Callable[[], bool]) -> Any:
    from transformers import StoppingCriteria, StoppingCriteriaList

    class Asked(StoppingCriteria):  # type: ignore[misc]
        def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:  # noqa: ARG002
            return torch.full((input_ids.shape[0],), stopped(), dtype=torch.bool, device=input_ids.device)

    return StoppingCriteriaList([Asked()])


def after_prompt(tokenizer: PreTrainedTokenizerBase, ids: list[int], new: list[int]) -> str:
    """The text of `new`. Decoded with the prompt, since many tokenizers drop a blank at the start."""
    whole = str(tokenizer.decode([*ids, *new], skip_special_tokens=True))
    head = str(tokenizer.decode(ids, skip_special_tokens=True))
    if whole.startswith(head):
        return whole[len(head) :]
    return str(tokenizer.decode(new, skip_special_tokens=True))


def _settings(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sampling: Sampling, room: int) -> Any:
    """Every value given, so that nothing comes from the model's own generation_config but where it ends."""
    from transformers import GenerationConfig

    ends = model.generation_config.eos_token_id if model.generation_config else None
    ends = {ends} if isinstance(ends, int) else set(ends or ())
    shared = {
        "max_new_tokens": room,
        "eos_token_id": sorted({*ends, tokenizer.eos_token_id}),
        "pad_token_id": tokenizer.eos_token_id,
        "use_cache": True,
    }
    if sampling.temperature == 0:
        return GenerationConfig(do_sample=False, **shared)
    return GenerationConfig(
        do_sample=True,
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        **shared,
    )
