"""A row names the commit of raypeft, or says that it is not known."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from raypeft.core.environment import SOURCE

ASK = "from raypeft.core.commit import source_commit; print(source_commit())"


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def commit_all(folder: Path) -> str:
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "all")
    return git(folder, "rev-parse", "--short=12", "HEAD")


def source_below(folder: Path) -> Path:
    (folder / "raypeft" / "core").mkdir(parents=True)
    for name in ("__init__.py", "core/__init__.py", "core/commit.py", "core/environment.py"):
        shutil.copy(Path(SOURCE) / "raypeft" / name, folder / "raypeft" / name)
    return folder


def asked(folder: Path, **environment: str) -> str:
    """What the copy of raypeft in `folder` says."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {ASK}"],
        cwd="/", env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_a_checkout_is_named_with_a_mark_where_the_source_was_changed(tmp_path):
    commit = commit_all(source_below(tmp_path))
    (tmp_path / "notes.txt").write_text("beside the source")
    assert asked(tmp_path) == commit
    (tmp_path / "raypeft" / "__init__.py").write_text("changed = True\n")
    assert asked(tmp_path) == f"{commit}-dirty"


def test_variables_of_a_hook_name_another_repository_in_vain(tmp_path):
    commit = commit_all(source_below(tmp_path / "own"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("x")
    other = commit_all(tmp_path / "other")
    assert other != commit
    left_over = {"GIT_DIR": str(tmp_path / "other/.git"), "GIT_WORK_TREE": str(tmp_path / "other")}
    assert asked(tmp_path / "own", **left_over) == commit


@pytest.mark.parametrize("tracked", [True, False])
def test_a_project_in_whose_environment_raypeft_is_installed_is_not_named(tmp_path, tracked):
    installed = source_below(tmp_path / ".venv" / "lib")
    if not tracked:
        (tmp_path / ".gitignore").write_text(".venv\n")
    commit_all(tmp_path)
    assert asked(installed) == "unknown"


def test_a_folder_that_its_repository_does_not_track_is_not_named(tmp_path):
    source_below(tmp_path)
    (tmp_path / ".gitignore").write_text("raypeft\n")
    commit_all(tmp_path)
    assert asked(tmp_path) == "unknown"


def test_without_git_or_a_repository_the_commit_is_unknown(tmp_path):
    commit_all(source_below(tmp_path / "own"))
    assert asked(tmp_path / "own", PATH=str(tmp_path)) == "unknown"
    assert asked(source_below(tmp_path / "bare")) == "unknown"
