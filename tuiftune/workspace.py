"""Make a workspace: the folders, a profile to start from and an example plugin."""

from __future__ import annotations

from pathlib import Path

from tuiftune.errors import WorkspaceError
from tuiftune.paths import shipped

STARTER = """\
# Fine-tune GPT-2 small on your own text.
#   tuiftune run my-text --set dataset.path=my.txt
# Everything not said here comes from gpt2-text; see all of it with: tuiftune show my-text
extends = "gpt2-text"
description = "GPT-2 small on my own text"

[dataset]
path = "data/my.txt"              # looked up from this workspace

[train]
epochs = 3
"""


def make(folder: Path) -> list[Path]:
    """Create what is missing of a workspace and return what was made; nothing that exists is touched.

    Raises WorkspaceError where nothing can be written.
    """
    made: list[Path] = []
    try:
        for name in ("profiles", "plugins", "runs"):
            if not (folder / name).is_dir():
                (folder / name).mkdir(parents=True, mode=0o700 if name == "runs" else 0o755)
                made.append(folder / name)
        for path, text in (
            (folder / "profiles" / "my-text.toml", STARTER),
            (folder / "plugins" / "jsonl_chat.py", (shipped("plugins") / "jsonl_chat.py").read_text()),
        ):
            if not path.exists():
                path.write_text(text)
                made.append(path)
    except OSError as error:
        raise WorkspaceError(
            f"{folder}: cannot be made a workspace: {error.strerror}. Choose another folder"
        ) from error
    return made
