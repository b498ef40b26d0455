"""Models and tokenizers load by folder or id, or a sentence says what to do."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from tuiftune.errors import StageError
from tuiftune.options import ModelOptions
from tuiftune.paths import assets
from tuiftune.training.model import load_folder, load_model, load_tokenizer

BABY = "tuiftune:babyllama-105"
TINY = {"model_type": "gpt2", "n_layer": 2, "n_embd": 32, "n_head": 2, "n_positions": 64}


def load(workspace, **model):
    return load_model(ModelOptions(**model), workspace, torch.float32)


def refusal(workspace, **model) -> str:
    with pytest.raises(StageError) as caught:
        load(workspace, **model)
    return str(caught.value)


def test_the_shipped_model_loads_with_its_tokenizer(workspace):
    model = load(workspace, name=BABY)
    assert model.num_parameters() == 936_448
    assert model.dtype == torch.float32
    assert load_tokenizer(ModelOptions(name=BABY), workspace).eos_token_id == 2


def test_a_relative_folder_is_looked_up_from_the_workspace(workspace):
    shutil.copytree(assets() / "babyllama-105", workspace / "models" / "mine")
    assert load(workspace, name="models/mine").num_parameters() == 936_448


def test_a_bf16_checkpoint_is_trained_in_float32(workspace):
    model = load(workspace, name=BABY)
    model.to(torch.bfloat16).save_pretrained(workspace / "half")
    assert load(workspace, name="half", tokenizer=BABY).dtype == torch.float32


def test_a_model_from_scratch_takes_its_vocabulary_and_ends_from_the_tokenizer(workspace):
    model = load(workspace, init="scratch", tokenizer=BABY, config=TINY)
    assert model.config.model_type == "gpt2"
    assert model.config.vocab_size == 105
    assert (model.config.bos_token_id, model.config.eos_token_id) == (1, 2)


def test_a_model_from_scratch_may_take_the_shape_of_another(workspace):
    model = load(workspace, init="scratch", name=BABY, config={"num_hidden_layers": 1})
    trained = load(workspace, name=BABY)
    assert model.config.num_hidden_layers == 1
    assert model.config.hidden_size == trained.config.hidden_size
    assert not torch.equal(model.get_input_embeddings().weight, trained.get_input_embeddings().weight)


def test_a_misspelt_value_of_the_config_is_refused_with_the_near_one(workspace):
    said = refusal(workspace, init="scratch", tokenizer=BABY, config={**TINY, "n_layers": 3})
    assert said == "model.config.n_layers: not a value of a 'gpt2' model. Did you mean 'n_layer'?"


def test_a_wrong_type_in_the_config_is_refused(workspace):
    said = refusal(workspace, init="scratch", tokenizer=BABY, config={**TINY, "n_layer": "two"})
    assert said.startswith("model.config: ")
    assert "'n_layer' expected int" in said


def test_sizes_that_do_not_go_together_are_refused(workspace):
    said = refusal(workspace, init="scratch", tokenizer=BABY, config={**TINY, "n_embd": 33})
    assert said.startswith("model.config: no model can be made of these values: ")


def test_an_unknown_or_missing_type_of_model_is_said(workspace):
    assert refusal(workspace, init="scratch", tokenizer=BABY, config={"model_type": "gpt22"}) == (
        "model.config.model_type: 'gpt22' is no causal language model. Did you mean 'gpt2'?"
    )
    assert "model.config.model_type: needed for" in refusal(workspace, init="scratch", tokenizer=BABY)


def test_a_config_without_scratch_would_be_read_by_nobody(workspace):
    assert "model.config: only read with model.init = 'scratch'" in refusal(workspace, name=BABY, config=TINY)


def test_no_name_at_all_is_said(workspace):
    assert refusal(workspace).startswith("model.name: no model is named.")


def test_a_folder_that_is_not_there_is_said_with_where_it_was_looked_for(workspace):
    assert refusal(workspace, name="./nowhere") == (
        f"model.name: ./nowhere: no such folder (looked for {workspace / 'nowhere'})"
    )


def test_a_hub_id_that_cannot_be_fetched_says_what_to_do(workspace):
    assert refusal(workspace, name="gpt2") == (
        "model.name: 'gpt2' is not a folder of the workspace, not in this machine's cache, and the Hugging Face hub "
        "cannot be reached. Fetch it where there is a network with: hf download gpt2 --local-dir FOLDER, "
        "then: --set model.name=FOLDER"
    )


def test_folders_that_lack_something_say_what(workspace):
    shutil.copytree(assets() / "babyllama-105", workspace / "m")
    (workspace / "m" / "model.safetensors").rename(workspace / "m" / "pytorch_model.bin")
    assert "m has no *.safetensors weights, and other formats can run code when opened." in refusal(workspace, name="m")
    (workspace / "m" / "config.json").unlink()
    assert refusal(workspace, name="m").endswith("is not a model: it has no config.json")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (workspace / "m" / name).unlink()
    assert "holds no tokenizer (no tokenizer.json). Name one with" in refusal(workspace, name="m")


def test_torn_weights_are_said_in_a_sentence(workspace):
    shutil.copytree(assets() / "babyllama-105", workspace / "m")
    weights = workspace / "m" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "m: the model cannot be read: " in refusal(workspace, name="m")


def test_weights_that_are_missing_are_not_made_up(workspace):
    from safetensors.torch import load_file, save_file

    shutil.copytree(assets() / "babyllama-105", workspace / "m")
    weights = load_file(workspace / "m" / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, workspace / "m" / "model.safetensors", metadata={"format": "pt"})
    assert "has no weights for 1 tensors of a causal language model, among them model.norm.weight." in refusal(
        workspace, name="m"
    )


def test_code_that_comes_with_a_model_is_not_run_and_nothing_is_asked(workspace):
    shutil.copytree(assets() / "babyllama-105", workspace / "m")
    config = json.loads((workspace / "m" / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}}
    (workspace / "m" / "config.json").write_text(json.dumps(config))
    (workspace / "m" / "own.py").write_text("raise SystemExit('it ran')")
    said = refusal(workspace, name="m", tokenizer=BABY)
    assert said.endswith("If you have read it: --set model.trust_remote_code=true")


def test_a_tokenizer_with_more_tokens_than_the_model_is_said_with_both_numbers(workspace, tiny_gpt2):
    folder = tiny_gpt2(vocab_size=50)
    assert "has 105 tokens, but the model knows 50." in refusal(workspace, name=str(folder))


def test_a_finished_model_loads_ready_to_be_measured():
    model, tokenizer = load_folder(assets() / "babyllama-105")
    assert not model.training
    assert model.dtype == torch.float32
    assert len(tokenizer) == 105


def test_a_folder_without_a_finished_model_is_said(tmp_path):
    with pytest.raises(StageError, match=r"no finished model is there \(no config.json\). Is the run still training\?"):
        load_folder(tmp_path)
