"""What is written into no file and no log: secrets of the environment, and what looks like one."""

from __future__ import annotations

import functools
import io
import os
import re
import sys
from collections.abc import Mapping, Sequence

MASK = "***"
SHORTEST = 8
"""Shorter values of variables named like a secret are words such as 'true' or '1', and would mask half a log."""
NAMED = re.compile(r"(?:token|key|secret|password|passwd|credentials)$", re.IGNORECASE)
"""Names of values that are secrets: HF_TOKEN, hub.api_key; not TOKENIZERS_PARALLELISM, batch_tokens."""
LOOKS = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16})\b"
    r"|(?<=://)[^\s/:@]+:[^\s/@]+(?=@)"
)
"""Tokens of Hugging Face, OpenAI, GitHub and AWS; user and password in an address."""


def masked(text: str) -> str:
    """The text without this process's secrets."""
    for value in _of_environment():
        if value in text:
            text = text.replace(value, MASK)
    return LOOKS.sub(MASK, text)


@functools.cache
def _of_environment() -> tuple[str, ...]:
    return secret_values(os.environ)


def secret_values(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Values of variables named like a secret, the longest first: one may be part of another."""
    found = {value for name, value in environment.items() if NAMED.search(name) and len(value) >= SHORTEST}
    return tuple(sorted(found, key=len, reverse=True))


def without_secrets(command: Sequence[str]) -> list[str]:
    """A command line fit to be written down: of `hub.token=abc` the value is left out."""
    return [_argument(one) for one in command]


def _argument(argument: str) -> str:
    parts = argument.split("=")
    for index, part in enumerate(parts[:-1]):
        if NAMED.search(part.strip()):
            return "=".join([*parts[: index + 1], MASK])
    return masked(argument)


class MaskedStream(io.TextIOWrapper):
    """A text stream that writes no secret. What native code or a child process writes to the same file is not seen."""

    def write(self, text: str) -> int:
        super().write(masked(text))
        return len(text)


def mask_streams() -> None:
    """From here on, what is printed (a traceback too) has no secret in it. In UTF-8, whatever the locale says."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and not isinstance(stream, MaskedStream):
            stream.flush()
            masking = MaskedStream(stream.detach(), encoding="utf-8", errors="backslashreplace", write_through=True)
            setattr(sys, name, masking)
            setattr(sys, f"__{name}__", masking)
