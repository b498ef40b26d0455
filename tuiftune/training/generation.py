"""Let a model go on from a prompt, within its position limit, until it says that the text ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from tuiftune.errors import StageError
from tuiftune.sampling import Sampling
from tuiftune.training.positions import position_limit

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


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
    """The text after `ids`. Draws from torch's random numbers: seed them before.

    Raises StageError where the prompt leaves no room for a token.
    """
    limit = position_limit(model.config)
    room = sampling.max_new_tokens if limit is None else min(sampling.max_new_tokens, limit - len(ids))
    if room < 1:
        raise StageError(f"the prompt has {len(ids):,} tokens, but the model takes {limit:,} with the answer")
    tokens = torch.tensor([ids], device=model.device)
    with torch.no_grad():
        written = model.generate(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            generation_config=_settings(model, tokenizer, sampling, room),
            streamer=streamer,
        )
    return after_prompt(tokenizer, ids, written[0, len(ids) :].tolist())


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
