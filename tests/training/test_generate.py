"""python -m tuiftune.training.generate, as a person runs it."""

from __future__ import annotations

import json
import subprocess

import pytest

from tuiftune.paths import assets
from tuiftune.training.generate import Streamer

BABY = str(assets() / "babyllama-105")


@pytest.fixture
def generate(interpreter):
    """Run the program; its exit status, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        command = [interpreter, "-P", "-m", "tuiftune.training.generate", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    return run


def test_it_writes_the_prompt_and_the_text_and_nothing_else(generate):
    text = "Once upon a time, there was a little girl n\n"
    assert generate(BABY, "Once upon a time", "--max-new-tokens", "27", "--temperature", "0") == (0, text, "")


@pytest.mark.long
def test_a_seed_gives_the_same_text_as_json_too(generate):
    asked = (BABY, "Once", "--max-new-tokens", "12", "--seed", "3", "--top-k", "5", "--top-p", "0.9")
    _, streamed, _ = generate(*asked)
    status, printed, said = generate(*asked, "--json")
    found = json.loads(printed)
    assert (status, said) == (0, "")
    assert found["prompt"] == "Once"
    assert f"Once{found['text']}\n" == streamed


def test_a_folder_without_a_model_is_a_sentence_and_status_2(generate, tmp_path):
    assert generate(str(tmp_path), "Once") == (
        2,
        "",
        f"{tmp_path}: no finished model is there (no config.json). Is the run still training?\n",
    )


def test_a_prompt_that_leaves_no_room_is_a_sentence_and_status_2(generate):
    status, _, said = generate(BABY, "long " * 100)
    assert status == 2
    assert said == "the prompt has 502 tokens, but the model takes 256 with the answer\n"


def test_options_out_of_range_are_a_usage_error(generate):
    status, _, said = generate(BABY, "Once", "--top-p", "0")
    assert status == 2
    assert "must be above 0 and at most 1, got 0" in said


class HalfCharacters:
    """A tokenizer of bytes: the two bytes of é are two tokens."""

    def decode(self, ids: list[int], **options: object) -> str:
        return bytes(ids).decode("utf-8", "replace")


class Tokens(list):
    def tolist(self) -> list[int]:
        return list(self)


def test_half_a_character_waits_for_its_other_half():
    shown: list[str] = []
    streamer = Streamer(HalfCharacters(), list(b"caf"), shown.append)
    streamer.put(Tokens(b"caf"))
    for byte in "é!".encode():
        streamer.put(Tokens([byte]))
    streamer.end()
    assert [text for text in shown if text] == ["é", "!", "\n"]
