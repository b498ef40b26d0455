"""What a person gets from the wheel: built through the sdist, installed into an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of what git tracks, built as a release is."""
    source = tmp_path_factory.mktemp("source")
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=repository, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in files:
        if not (repository / name).is_file():
            continue
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((repository / name).read_bytes())
    (source / ".gitignore").write_bytes((repository / ".gitignore").read_bytes() + b"/plugins/private.py\n")
    (source / "plugins" / "private.py").write_text("secret = 1\n")
    target = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(source)],
        check=True,
        capture_output=True,
    )
    return next(target.glob("*.whl"))


def test_the_wheel_holds_what_is_needed_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for needed in (
        "tuiftune/_shipped/profiles/quickstart.toml",
        "tuiftune/_shipped/profiles/gpt2-text.toml",
        "tuiftune/_shipped/plugins/jsonl_chat.py",
        "tuiftune/assets/babyllama-105/model.safetensors",
        "tuiftune/assets/quickstart.txt",
        "tuiftune/assets/LICENSES.md",
        "tuiftune/tui/app.tcss",
    ):
        assert needed in names
    assert not [name for name in names if "private" in name or name.startswith(("tests/", "benchmarks/"))]
    assert {name.split("/")[0] for name in names} == {"tuiftune", wheel.name.split("-py3")[0] + ".dist-info"}


def test_an_install_from_the_wheel_checks_its_shipped_profiles(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            "--target",
            str(target),
            str(wheel),
        ],
        check=True,
        capture_output=True,
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(target), sysconfig.get_paths()["purelib"]])}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tuiftune.cli", "check"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "quickstart: ok" in done.stdout
    where = subprocess.run(
        [sys.executable, "-P", "-c", "import tuiftune; print(tuiftune.__file__)"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert where.startswith(str(target))
