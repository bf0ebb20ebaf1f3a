"""Handle signals that end a command: the first stops it in order, the second at once."""

import contextlib
import os
import signal
import threading
from types import FrameType, TracebackType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class InterruptedBySignalError(BaseException):
    """An interrupt of whatever the main thread does; it is no program error, so not an Exception."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """Return the exit status as shells count it."""
        return 128 + self.number

    @property
    def name(self) -> str:
        """Return the signal's name, e.g. SIGINT."""
        return signal.Signals(self.number).name


class Signals:
    """A context that handles SIGINT, SIGTERM and SIGHUP; SIGHUP not if it is ignored, as under nohup.

    Only the main thread can do this; in other threads nothing changes.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._raises = True
        self._before = {
            number: signal.getsignal(number)
            for number in ENDING
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
        }

    def __enter__(self) -> "Signals":
        self.install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if _is_main_thread():
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def install(self) -> None:
        """Install the handlers; again when Ray is up, whose core replaces them and aborts on SIGTERM."""
        if _is_main_thread():
            for number in self._before:
                signal.signal(number, self._handle)

    def only_note(self) -> None:
        """Record the first signal in `received` from now on, instead of raising.

        Raises: InterruptedBySignalError if one came before.
        """
        if self.received is not None:
            raise InterruptedBySignalError(self.received)
        self._raises = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            end_now(128 + number, "raypeft: second signal: stopping now")
        self.received = number
        if self._raises:
            write_line("stopping; Ctrl-C again to stop at once")
            raise InterruptedBySignalError(number)


def end_now(code: int, line: str) -> None:
    """End this process and all that it started, without waiting for anything."""
    from raypeft.launch.processes import kill_children

    kill_children()
    write_line(line)
    os._exit(code)


def write_line(line: str) -> None:
    """Write to stderr without buffers, so that a handler may; show the terminal's cursor, which bars hide."""
    shown = "\x1b[?25h" if os.isatty(2) else ""
    with contextlib.suppress(OSError):  # nobody reads it any more
        os.write(2, f"{shown}\n{line}\n".encode() if shown else f"{line}\n".encode())


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
