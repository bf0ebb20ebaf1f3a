"""Signals that end a command: the first in order and acknowledged at once, the second where it stands."""

import contextlib
import os
import signal
import threading
from types import FrameType, TracebackType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class InterruptedBySignalError(BaseException):
    """Out of whatever the main thread does; no error of the program, so no Exception."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """As a shell counts."""
        return 128 + self.number

    @property
    def name(self) -> str:
        """As SIGINT."""
        return signal.Signals(self.number).name


class Signals:
    """In `with`, SIGINT, SIGTERM and SIGHUP are taken; SIGHUP not where it is ignored, as under nohup.

    Only the main thread may do so: elsewhere they stay with whoever called.
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
        """Take the signals; again when Ray is up, whose core takes them for itself and aborts on SIGTERM."""
        if _is_main_thread():
            for number in self._before:
                signal.signal(number, self._handle)

    def only_note(self) -> None:
        """From now on the first is noted in `received`, for somebody who looks; before, it raises.

        Raises: InterruptedBySignalError where one came before.
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
    """On stderr, past all buffers, so that a handler may; shows a terminal's cursor, which bars hide."""
    shown = "\x1b[?25h" if os.isatty(2) else ""
    with contextlib.suppress(OSError):  # nobody reads it any more
        os.write(2, f"{shown}\n{line}\n".encode() if shown else f"{line}\n".encode())


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
