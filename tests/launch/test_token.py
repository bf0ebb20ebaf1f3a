"""Ray's token where it cannot be written: a sweep and doctor say the same."""

import os

import pytest

from raypeft.core.errors import PreflightError
from raypeft.launch.doctor import examine
from raypeft.launch.token import keep_token_private


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # so that it is put back, whatever is set meanwhile
        os.environ.pop(name)


def doctor(tmp_path) -> tuple[str, str]:
    found = examine(tmp_path, tracking_uri=None, port=0)
    return next((one.level, one.what) for one in found if one.what.startswith("Ray's token"))


@pytest.mark.parametrize("home", ["/dev/null", "/dev/null/nobody", "/proc/nobody"])
def test_a_home_that_takes_no_file_is_done_without(monkeypatch, tmp_path, home):
    monkeypatch.setenv("HOME", home)
    level, what = doctor(tmp_path)
    assert level == "OK"
    assert "in memory alone" in what
    keep_token_private()
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    first = os.environ["RAY_AUTH_TOKEN"]
    keep_token_private()
    assert os.environ["RAY_AUTH_TOKEN"] == first, "a second Tuner's servers know the first one's"


def test_a_token_s_path_that_takes_no_file_is_refused_by_both(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/dev/null/token")
    assert doctor(tmp_path)[0] == "FAIL"
    with pytest.raises(PreflightError, match="RAY_AUTH_TOKEN_PATH=/dev/null/token"):
        keep_token_private()


def test_a_home_that_takes_files_holds_the_token(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    keep_token_private()
    assert "RAY_AUTH_TOKEN" not in os.environ
    path = tmp_path / ".ray" / "auth_token"
    assert path.stat().st_mode & 0o777 == 0o600
    assert doctor(tmp_path) == ("OK", f"Ray's token: private ({path})")
