"""Where things are: the workspace, the user's folder and what ships with tuiftune. No other file knows."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from tuiftune.errors import WorkspaceError

WORKSPACE_FOLDERS = ("profiles", "plugins")
"""A folder that has both is a workspace; `runs/` and `cache/` appear beside them when needed."""


def user_folder() -> Path:
    """The user's own workspace, used where no other is found; its profiles are seen from every workspace."""
    data_home = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data_home) / "tuiftune"


def leases_folder() -> Path:
    """Locks on GPUs, shared by all workspaces of the user: a name alone, nothing is written into them."""
    state_home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state_home) / "tuiftune" / "leases"


def remembered_file(workspace: Path) -> Path:
    """What the last listing of this workspace's plugins found. May be deleted; the next listing writes it anew."""
    cache_home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    digest = hashlib.blake2b(os.fsencode(workspace.absolute()), digest_size=8).hexdigest()
    return Path(cache_home) / "tuiftune" / f"stages-{digest}.json"


def theme_file() -> Path:
    """The name of the dashboard's theme that was chosen last."""
    config_home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(config_home) / "tuiftune" / "theme"


def hub_cache() -> Path:
    """Where huggingface_hub keeps what it has fetched."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def hub_is_offline() -> bool:
    """Whether the user keeps huggingface_hub from the network; the words are those that it takes for a yes."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "on", "yes", "true")


def shipped(name: str) -> Path:
    """The folder `name` ('profiles', 'plugins') that ships with tuiftune.

    In a wheel it lies inside the package; in a checkout or an editable install beside it.
    """
    package = Path(__file__).resolve().parent
    inside = package / "_shipped" / name
    return inside if inside.is_dir() else package.parent / name


def assets() -> Path:
    """The model and the text of the quickstart, shipped inside the package."""
    return Path(__file__).resolve().parent / "assets"


def find_workspace(start: Path | None = None) -> Path:
    """The workspace in force: the nearest one from `start` (the current folder) upwards, else
    `$TUIFTUNE_WORKSPACE`, else the user's folder.

    Raises WorkspaceError where `$TUIFTUNE_WORKSPACE` names no folder.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if all((folder / name).is_dir() for name in WORKSPACE_FOLDERS):
            return folder
    named = os.environ.get("TUIFTUNE_WORKSPACE")
    if named:
        folder = Path(named).expanduser()
        if not folder.is_dir():
            raise WorkspaceError(
                f"$TUIFTUNE_WORKSPACE is {named!r}, which is not a folder. Make one with: tuiftune init {named}"
            )
        return folder.resolve()
    return user_folder()


def runs_folder(workspace: Path) -> Path:
    return workspace / "runs"


def cache_folder(workspace: Path) -> Path:
    """Tokenised data, by fingerprint, shared by the runs of a workspace."""
    return workspace / "cache"


def profile_folders(workspace: Path) -> list[tuple[str, Path]]:
    """Where profiles are looked for, nearest first: (source, folder)."""
    folders = [("workspace", workspace / "profiles")]
    if user_folder() != workspace:
        folders.append(("user", user_folder() / "profiles"))
    if shipped("profiles").resolve() != (workspace / "profiles").resolve():
        folders.append(("shipped", shipped("profiles")))
    return folders


def plugin_folder(workspace: Path) -> Path:
    """The drop-in plugins of a workspace."""
    return workspace / "plugins"


ASSET_PREFIX = "tuiftune:"


def resolve_path(text: str, workspace: Path) -> Path:
    """The file or folder a profile means by `text`.

    `tuiftune:NAME` is what ships with the package, `~` the home folder; anything else relative is
    looked up from the workspace.
    """
    if text.startswith(ASSET_PREFIX):
        return assets() / text.removeprefix(ASSET_PREFIX)
    return workspace / Path(text).expanduser()


def display(path: Path, workspace: Path) -> str:
    """How messages name a file: from the current folder when it lies inside, else from the workspace, else whole."""
    whole = path.absolute()
    for folder in (Path.cwd(), workspace.absolute()):
        if whole.is_relative_to(folder):
            return str(whole.relative_to(folder))
    return str(whole)
