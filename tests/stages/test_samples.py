"""Samples are written from the same prompts and say which model wrote them."""

from __future__ import annotations

import pytest
import torch

from tuiftune.paths import assets
from tuiftune.sampling import Sampling
from tuiftune.stages.samples import Samples
from tuiftune.training.generation import continue_text, prompt_ids
from tuiftune.training.model import load_folder

BABY = assets() / "babyllama-105"
GREEDY = Sampling(max_new_tokens=40, temperature=0, top_k=0, top_p=1.0)


@pytest.fixture(scope="module")
def loaded():
    return load_folder(BABY)


@pytest.fixture
def write(context_for, tokenised, loaded):
    """Let a stage write at a step, and give back its samples."""

    def run(step: int = 0, rows=(), **options):
        ctx = context_for("evaluate", input=tokenised([[1, 2]], rows))
        assert Samples(Samples.Options(**options)).evaluate(ctx, *loaded, step) == {}
        return ctx.recorder.samples

    return run


def test_a_sample_says_its_step_its_prompt_and_who_wrote_it(write):
    asked = {"prompts": ["Once upon a time", "The dog"], "max_new_tokens": 8, "temperature": 0.0}
    first, second = write(0, **asked)
    assert first == (0, "Once upon a time", ", there ", "base")
    assert second[1:2] == ("The dog",)
    assert [sample[3] for sample in write(30, **asked)] == ["step 30", "step 30"]


def test_the_finished_model_writes_as_final(context_for, tokenised):
    ctx = context_for("evaluate", input=tokenised([[1, 2]]), outputs={"train": BABY, "step": 12})
    Samples(Samples.Options(prompts=["Once"], max_new_tokens=3)).run(ctx)
    assert [(step, model) for step, _, _, model in ctx.recorder.samples] == [(12, "final")]


def test_a_seed_gives_the_same_text_and_training_draws_the_same_numbers_after_it(write):
    asked = {"prompts": ["Once", "Once"], "max_new_tokens": 30, "temperature": 1.0}
    torch.manual_seed(5)
    first = write(**asked)
    drawn = torch.rand(1)
    assert first[0][2] == first[1][2] == write(**asked)[0][2]
    assert write(**asked, seed=7)[0][2] != first[0][2]
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), drawn)


def test_without_prompts_held_out_samples_are_begun(write, loaded):
    _, tokenizer = loaded
    rows = [[*tokenizer(text).input_ids, 2] for text in ("Lily had a big red ball.", "Tom", "The sun was hot.", "No")]
    prompts = [prompt for _, prompt, _, _ in write(rows=rows, max_new_tokens=2)]
    assert prompts == ["Lily had a b", "T", "The sun "]


def test_without_data_the_model_writes_from_nothing(write):
    assert [prompt for _, prompt, _, _ in write(max_new_tokens=2)] == [""]


def test_a_text_stops_at_the_end_or_at_the_models_limit(loaded):
    model, tokenizer = loaded
    story = continue_text(model, tokenizer, prompt_ids(tokenizer, "Once"), Sampling(10_000, 0, 0, 1.0))
    assert 0 < len(tokenizer(story).input_ids) <= model.config.max_position_embeddings


def test_greedy_text_is_what_the_model_says_is_likeliest(loaded):
    model, tokenizer = loaded
    ids = prompt_ids(tokenizer, "Once upon a time")
    text = continue_text(model, tokenizer, ids, GREEDY)
    for _ in range(GREEDY.max_new_tokens):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    assert tokenizer.decode(ids, skip_special_tokens=True) == "Once upon a time" + text
