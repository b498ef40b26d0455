"""python -m tuiftune.training.generate MODEL_DIR PROMPT: write the text to stdout as its tokens come.

What `tuiftune.training.play`, which answers many prompts, has in common with it is in here too.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuiftune.errors import TuiftuneError
from tuiftune.run.models import Source
from tuiftune.sampling import Sampling
from tuiftune.signs import print_in_any_encoding
from tuiftune.text import plain
from tuiftune.waiting import Waiting

if TYPE_CHECKING:
    from tuiftune.training.generation import Written


def main(arguments: list[str]) -> int:
    """Exit status 0, or 2 with a sentence on stderr."""
    asked = _parser().parse_args(arguments)
    sampling = Sampling(asked.max_new_tokens, asked.temperature, asked.top_k, asked.top_p)
    source = Source(None, asked.model) if asked.base else Source(asked.model, asked.run)
    try:
        generate(source, asked.prompt, sampling, asked.seed, asked.json, asked.device)
    except TuiftuneError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:  # `| head`: nobody reads on
        sys.stderr.close()
    except KeyboardInterrupt:
        return 130
    return 0


def generate(
    source: Source, prompt: str, sampling: Sampling, seed: int | None, as_json: bool, device: str = "auto"
) -> None:
    """Print the prompt and what the model writes after it; as JSON `{"prompt", "text"}` at the end.

    Raises StageError where there is no model, or no room after the prompt.
    """
    with Waiting("loading the model") as waiting:
        waiting.doing("torch")
        silence()
        from tuiftune.training import sources

        waiting.doing("its weights")
        model, tokenizer = sources.load(source)
        note = sources.put(model, device)  # type: ignore[arg-type]
    if note is not None:
        print(note, file=sys.stderr)
    if as_json:
        with Waiting("writing"):
            text = answer(model, tokenizer, prompt, sampling, seed).text
        print(json.dumps({"prompt": prompt, "text": text}, ensure_ascii=False))
        return
    answer(model, tokenizer, prompt, sampling, seed, _print, prompt, "\n")


def silence() -> None:
    """What libraries have to say belongs to nobody who reads a text."""
    from tuiftune.training.model import quiet

    quiet()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")


def answer(
    model: Any,
    tokenizer: Any,
    prompt: str,
    sampling: Sampling,
    seed: int | None,
    show: Callable[[str], None] | None = None,
    before: str = "",
    after: str = "",
    stopped: Callable[[], bool] | None = None,
) -> Written:
    """What the model writes after the prompt, the same for the same seed; shown as it comes, `before` and `after`
    around it.

    Raises StageError where the prompt leaves no room for a token.
    """
    import torch

    from tuiftune.training.generation import prompt_ids, write

    if seed is not None:
        torch.manual_seed(seed)
    ids = prompt_ids(tokenizer, prompt)
    streamer = Streamer(tokenizer, ids, show, before, after) if show else None
    return write(model, tokenizer, ids, sampling, streamer, stopped)


def _print(text: str) -> None:
    sys.stdout.write(plain(text, limit=1_000_000))
    sys.stdout.flush()


class Streamer:
    """Shows each token's text as soon as it is whole characters; transformers calls put and end."""

    def __init__(
        self, tokenizer: Any, ids: list[int], show: Callable[[str], None], before: str = "", after: str = "\n"
    ) -> None:
        self._tokenizer, self._ids, self._show = tokenizer, ids, show
        self._before, self._after = before, after
        self._new: list[int] = []
        self._shown = 0
        self._prompt_came = False

    def put(self, value: Any) -> None:
        if not self._prompt_came:  # the first call is the prompt, once it is known to fit
            self._prompt_came = True
            self._show(self._before)
            return
        self._new += value.tolist()
        self._advance(last=False)

    def end(self) -> None:
        self._advance(last=True)
        self._show(self._after)

    def _advance(self, last: bool) -> None:
        from tuiftune.training.generation import after_prompt

        text = after_prompt(self._tokenizer, self._ids, self._new)
        if last or not text.endswith("\ufffd"):  # half of a character: the rest is in the next token
            self._show(text[self._shown :])
            self._shown = len(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tuiftune.training.generate", description=__doc__)
    parser.add_argument("model", type=Path, help="folder of a model")
    parser.add_argument("prompt")
    parser.add_argument("--max-new-tokens", type=_at_least(int, 1), default=Sampling.max_new_tokens)
    parser.add_argument(
        "--temperature", type=_at_least(float, 0), default=Sampling.temperature, help="0 for the likeliest token"
    )
    parser.add_argument("--top-k", type=_at_least(int, 0), default=Sampling.top_k, help="0 for all")
    parser.add_argument("--top-p", type=_probability, default=Sampling.top_p)
    parser.add_argument("--seed", type=_at_least(int, 0), help="the same text again")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--run", type=Path, help="folder of the run that made the model")
    parser.add_argument("--base", action="store_true", help="MODEL is a run's folder: what it started from")
    parser.add_argument("--json", action="store_true", help="one JSON object at the end")
    return parser


def _at_least(kind: type[int] | type[float], lowest: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = kind(text)
        if not value >= lowest:
            raise argparse.ArgumentTypeError(f"must be at least {lowest}, got {text}")
        return value

    number.__name__ = kind.__name__
    return number


def _probability(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1, got {text}")
    return value


if __name__ == "__main__":
    print_in_any_encoding()
    sys.exit(main(sys.argv[1:]))
