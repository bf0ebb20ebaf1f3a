"""The commands, called in this process; the fault matrix, printed at the end."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# Before torch is imported: networks as small as the tests' gain nothing from a second thread, and threads
# that wait for each other beside other work take many times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from raypeft.cli import main
from raypeft.core.plugins import forget_plugin, loaded_plugins
from raypeft.core.registry import REGISTRIES, Registry
from tests.installed import install

# The same examples in every run, so that a failure is due to the change that is tested. To look for new ones:
# pytest --hypothesis-profile=default
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

RAY = ("tests/cluster", "tests/faults", "tests/integration", "tests/test_examples.py")
"""Where tests start Ray. One process runs them all: two Rays on a host disturb each other."""


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`raypeft ARGUMENTS`: exit status, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment in which raypeft is installed from its wheel."""
    return install(tmp_path_factory.mktemp("installed"))


@pytest.fixture(autouse=True)
def own_plugins() -> Iterator[None]:
    """What a test registers, from files of its own or from a sweep file, is gone after it."""
    plugins, names = loaded_plugins(), {id(registry): set(registry) for registry in REGISTRIES}
    yield
    for plugin in loaded_plugins():
        if plugin not in plugins:
            forget_plugin(plugin)
    for registry in REGISTRIES:
        for name in [
            name for name in registry if not _is_kept(registry, name, names.get(id(registry), set()))
        ]:
            registry.remove(name)


def _is_kept(registry: Registry[object], name: str, before: set[str]) -> bool:
    registration = registry.registration(name)
    return name in before or (registration is not None and registration.is_builtin)


@pytest.fixture
def another_user() -> Callable[[], AbstractContextManager[None]]:
    """In `with`: this process is nobody, to whom root's files are another's. All it needs is imported."""

    @contextmanager
    def become() -> Iterator[None]:
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    if os.geteuid() != 0:
        pytest.skip("becomes another user: needs root")
    return become


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder of root's that everybody may write to; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def seen(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Notes what a test of the fault matrix saw."""
    return partial(record_property, "seen")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    report.faults = [[mark.kwargs["row"], mark.kwargs["expected"]] for mark in item.iter_markers("fault")]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The fault matrix of the tests that ran: row, expected, seen, seconds."""
    lines = [
        (row, expected, dict(report.user_properties).get("seen", outcome), report.duration)
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if report.when == "call"
        for row, expected in getattr(report, "faults", ())
    ]
    if lines:
        terminalreporter.section("fault matrix")
        for row, expected, what, seconds in sorted(lines):
            terminalreporter.line(f"| {row} | {expected} | {what} | {seconds:.1f} |")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One process per core for the whole suite; none beside this one for what is asked for by name."""
    return 0 if config.args_source is pytest.Config.ArgsSource.ARGS else os.cpu_count() or 1


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Replace `--dist loadgroup`, which does not group under this pytest."""
    return ByFile(config, log)


class ByFile(LoadScopeScheduling):
    """Gives whole files to processes, and to one of them all files that start Ray."""

    def _split_scope(self, nodeid: str) -> str:
        return "ray" if nodeid.startswith(RAY) else nodeid.partition("::")[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts Ray comes first, since it takes longest."""
    for item in items:
        if item.get_closest_marker("ray") and not item.nodeid.startswith(RAY):
            raise pytest.UsageError(f"{item.nodeid} starts Ray, so it belongs into one of {', '.join(RAY)}")
    items.sort(key=lambda item: not item.nodeid.startswith(RAY))
