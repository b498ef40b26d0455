"""What an answer about a profile was made from, so that it is known when it holds no longer.

Only names, sizes and times are looked at: no file is read and no process started, so that a screen can ask at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tuiftune import __version__
from tuiftune.catalog import ResolvedProfile
from tuiftune.paths import plugin_folder, profile_folders, resolve_path

FILES_OF_FOLDER = 1_000
"""Of a folder of data or a model so many files are looked at, the first by name."""
LONGEST_PATH = 4_096

Inputs = dict[str, Any]
"""As JSON: path -> [bytes, mtime in ns], or None where nothing is there."""


def inputs_of(workspace: Path, resolved: ResolvedProfile) -> Inputs:
    """The files that a profile's values, data, model and plugins come from, as they are now."""
    paths = dict.fromkeys(str(path) for path in _paths(workspace, resolved))
    return {"version": __version__, "files": {path: _look(path) for path in paths}}


def data_bytes(workspace: Path, resolved: ResolvedProfile) -> int:
    """Bytes of the files that a profile's dataset names, in folders too."""
    sizes = 0
    for text in _texts(resolved.effective.get("dataset")):
        looked = _look(str(resolve_path(text, workspace))) if _is_path(text) else None
        sizes += sum(one[1] if isinstance(one, list) else 0 for one in looked or ())
        sizes += looked[0] if looked and isinstance(looked[0], int) else 0
    return sizes


def unchanged(inputs: Inputs) -> bool:
    """Whether everything is as it was."""
    files = inputs.get("files")
    if inputs.get("version") != __version__ or not isinstance(files, dict):
        return False
    return all(_look(path) == was for path, was in files.items())


def _paths(workspace: Path, resolved: ResolvedProfile) -> Iterator[Path]:
    names = {resolved.name}
    for place in resolved.origin.values():  # 'profiles/base.toml:7'
        file = place.rpartition(":")[0]
        if file.endswith(".toml"):
            names.add(Path(file).stem)
            yield from (folder / file for folder in (Path.cwd(), workspace))
    for _, folder in profile_folders(workspace):  # a nearer one of the name would be taken instead
        yield from (folder / f"{name}.toml" for name in sorted(names))
    yield from sorted(plugin_folder(workspace).glob("[!_]*.py"))
    yield plugin_folder(workspace)
    yield from _named(workspace, resolved.effective)


def _named(workspace: Path, effective: Mapping[str, Any]) -> Iterator[Path]:
    """Whatever the values of the dataset and the model could name: what is no file is looked for all the same, since
    it may be there one day."""
    texts = [*_texts(effective.get("dataset")), *_texts(effective.get("model"))]
    for text in texts:
        if _is_path(text):
            yield resolve_path(text, workspace)


def _is_path(text: str) -> bool:
    return "\0" not in text and "\n" not in text and len(text) < LONGEST_PATH


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inside in value.values():
            yield from _texts(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from _texts(inside)


def _look(path: str) -> list[Any] | None:
    """Size and time of a file, of a folder those of what lies in it; None where there is nothing (to be seen)."""
    try:
        place = Path(path)
        if not place.is_dir():
            return _size_and_time(place)
        # Python leaves __pycache__ beside plugins when it reads them.
        inside = sorted(entry for entry in place.iterdir() if not entry.name.startswith((".", "__")))
        return [[entry.name, *_size_and_time(entry)] for entry in inside[:FILES_OF_FOLDER]]
    except (OSError, ValueError):
        return None


def _size_and_time(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]
