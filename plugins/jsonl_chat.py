"""Example: chats from a JSONL file, one {"user": ..., "assistant": ...} a line.

[dataset]
stage = "jsonl_chat"
path = "data/chats.jsonl"
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import tuiftune


class JsonlChat(tuiftune.DatasetLoader):
    """Chats from a JSONL file: one {"user": ..., "assistant": ...} a line."""

    name = "jsonl_chat"

    class Options(tuiftune.Options):
        path: str = tuiftune.Field(description="the JSONL file")

    def run(self, ctx: tuiftune.Context) -> Iterator[str]:
        with ctx.open(self.options.path) as file:
            for number, line in enumerate(file, start=1):
                yield self._document(line, f"{self.options.path}:{number}")

    def _document(self, line: str, place: str) -> str:
        try:
            chat = json.loads(line)
        except ValueError as error:
            raise tuiftune.StageError(f"{place}: not JSON: {error}") from error
        for key in ("user", "assistant"):
            if not isinstance(chat, dict) or key not in chat:
                raise tuiftune.StageError(f"{place}: no {key!r} key")
        return f"{chat['user']}\n{chat['assistant']}"


@tuiftune.hookimpl
def register_stages() -> list[type[tuiftune.Stage]]:
    return [JsonlChat]
