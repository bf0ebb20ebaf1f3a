"""Decode image files in separate processes: a hostile image kills or hangs only its decoder.

The parent sends one path per line, as JSON, and waits for one line. Pixels go into a file that both
processes map, so that no image passes through a pipe.
"""

import contextlib
import json
import os
import queue
import resource
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from raypeft.core.machine import usable_cores
from raypeft.core.resize import Resize
from raypeft.datasets.images import Fingerprint, LargeImageError, fingerprint, read_image
from raypeft.datasets.pixels import Choice, Deep, Display, Survey, shown
from raypeft.datasets.squares import resized

TIMEOUT_SECONDS = 60.0  # per image; a healthy one takes milliseconds
KILLED_SECONDS = 5.0  # for a killed decoder to be gone
LARGE_TIMEOUT_SECONDS = 300.0  # per image of more than images.LARGE_PIXELS

MEMORY_BYTES = 4 * 2**30
"""Limit of a decoding process's own data; large images are decoded one at a time."""


ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # threads' own memory counts too

Reply = Fingerprint | Survey | str | None
"""Of one image. A survey: it waits for what all others tell; a text: what is wrong with its file; None: it
is large, and waits until no other one is decoded.
"""

Keep = Callable[[int, Image.Image], object]
"""Called with an image's number among those asked for, and the image."""


def decode_files(
    paths: Sequence[Path],
    *,
    watch: Callable[[int], object] = lambda done: None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> list[Fingerprint | str]:
    """Return fingerprints in the order of `paths`, or what is wrong with a file.

    Large images are decoded after the others, one at a time. Images of more than 8 bits or with a window are
    decoded twice: first for their survey, then as all of them together decide.
    `watch` is called with the number of images done.
    """
    return _decode(_Crew(paths, [], watch, timeout_seconds), None)[0]


def decode_into(
    pixels: Path,
    paths: Sequence[Path],
    *,
    resize: Resize,
    display: Display | None = None,
    watch: Callable[[int], object] = lambda done: None,
) -> tuple[list[Fingerprint | str], Display]:
    """Decode as decode_files does, and keep the pixels; also return how deep images are shown.

    This is `display` if given, else what all of them together decide. `pixels`: a file to fill with uint8
    (n, image_size, image_size, 3), which must have that size.
    """
    arguments = [str(pixels), str(len(paths)), json.dumps(asdict(resize))]
    return _decode(_Crew(paths, arguments, watch, TIMEOUT_SECONDS), display)


def _decode(crew: "_Crew", display: Display | None) -> tuple[list[Fingerprint | str], Display]:
    with contextlib.closing(crew):
        crew.ask(range(len(crew.paths)))
        large = {index for index, one in enumerate(crew.replies) if one is None}
        crew.ask(large, is_alone=True)
        deep = {index: one for index, one in enumerate(crew.replies) if isinstance(one, Survey)}
        display = Display.of(list(deep.values())) if display is None else display
        choices = {index: display.choice(one) for index, one in deep.items()}
        crew.ask([index for index in deep if index not in large], choices=choices)
        crew.ask([index for index in deep if index in large], choices=choices, is_alone=True)
    found = [
        one if isinstance(one, Fingerprint | str) else f"{path}: it changed while it was read"
        for path, one in zip(crew.paths, crew.replies, strict=True)
    ]
    return found, display


class _Crew:
    """The decoders that work on the same images, and the last reply for each image."""

    def __init__(
        self,
        paths: Sequence[Path],
        arguments: list[str],
        watch: Callable[[int], object],
        timeout_seconds: float,
    ) -> None:
        self.replies: list[Reply] = [None] * len(paths)
        self.paths, self._arguments, self._watch = paths, arguments, watch
        self._timeout_seconds = timeout_seconds
        self._decoders: list[_Decoder] = []
        self._lock, self._num_done = threading.Lock(), 0
        self._errors: list[Exception] = []  # of the threads: none of an image, which is a reply

    def ask(
        self, indices: Iterable[int], *, choices: Mapping[int, Choice] | None = None, is_alone: bool = False
    ) -> None:
        """Decode images; deep ones without a choice only reply their survey. `is_alone`: one at a time.

        Raises: what `watch` raises; OSError if no process can be started.
        """
        waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        for index in indices:
            waiting.put(index)
        if is_alone and waiting.qsize():
            self.close()  # free the memory for the large image
        num = min(1 if is_alone else usable_cores(), waiting.qsize())
        self._decoders += [_Decoder(self._arguments) for _ in range(num - len(self._decoders))]
        decoders = self._decoders[:num]
        threads = [
            threading.Thread(target=self._work, args=(decoder, waiting, choices or {}, is_alone))
            for decoder in decoders
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
            if self._errors:
                raise self._errors[0]
        except BaseException:  # Ctrl-C: nothing more to do, and no image, however large, is waited for
            with contextlib.suppress(queue.Empty):
                while True:
                    waiting.get_nowait()
            for decoder in decoders:
                decoder.kill()
            raise

    def close(self) -> None:
        """End the decoders; a later request starts new ones."""
        for decoder in self._decoders:
            decoder.stop()

    def _work(
        self,
        decoder: "_Decoder",
        waiting: "queue.SimpleQueue[int]",
        choices: Mapping[int, Choice],
        is_alone: bool,
    ) -> None:
        timeout = LARGE_TIMEOUT_SECONDS if is_alone else self._timeout_seconds
        try:
            while True:
                index = waiting.get_nowait()
                reply = decoder.ask(index, self.paths[index], choices.get(index), is_alone, timeout)
                self.replies[index] = reply
                if isinstance(reply, Fingerprint | str):
                    with self._lock:
                        self._num_done += 1
                        self._watch(self._num_done)
        except queue.Empty:
            return
        except Exception as error:  # raised by the thread that waits for this one
            self._errors.append(error)


class _Decoder:
    """A decoding process, which is started again after an image kills it or makes it hang."""

    def __init__(self, arguments: list[str]) -> None:
        # Not -m: the package imports this module, and runpy warns of a second copy.
        program = (
            "from raypeft.core.environment import isolate; isolate(); "
            "from raypeft.datasets.decoder import main; main()"
        )
        self._command = [sys.executable, "-P", "-c", program, *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    def ask(
        self, index: int, path: Path, choice: Choice | None, is_alone: bool, timeout_seconds: float
    ) -> Reply:
        """Return the reply of `serve`, or that the decoder died."""
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # libraries print names of files and values of headers
                bufsize=0,
                env=os.environ | ONE_THREAD,
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it is dead already; reported below
            request = json.dumps([index, str(path), choice and asdict(choice), is_alone])
            process.stdin.write(request.encode() + b"\n")
        readable, _, _ = select.select([process.stdout], [], [], timeout_seconds)
        reply = process.stdout.readline() if readable else b""
        if reply:
            return _parsed(json.loads(reply))
        self.stop()
        if not readable:
            return f"{path}: its decoder did not answer for {timeout_seconds:g} s"
        return f"{path}: it crashed the decoder ({_death(process.returncode)})"

    def kill(self) -> None:
        """Kill the process from another thread; a waiting `ask` then returns that it died."""
        if (process := self._process) is not None:
            process.kill()

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()  # a healthy decoder ends here
        try:
            process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # a dead file system blocks it
                process.wait(timeout=KILLED_SECONDS)
        if process.stdout is not None:
            process.stdout.close()


def main() -> None:
    """Run the decoding process; its arguments are those of `decode_into`, none for `decode_files`."""
    limit_memory()
    keep = _keeper(*sys.argv[1:]) if sys.argv[1:] else lambda index, image: None
    serve(sys.stdin.buffer, sys.stdout.buffer, keep)


def _keeper(pixels: str, num_images: str, settings: str) -> Keep:
    resize = Resize(**json.loads(settings))
    shape = (int(num_images), resize.image_size, resize.image_size, 3)
    target = np.memmap(pixels, dtype=np.uint8, mode="r+", shape=shape)

    def keep(index: int, image: Image.Image) -> None:
        target[index] = np.asarray(resized(image, resize))

    return keep


def limit_memory() -> None:
    """Limit the data of this process to MEMORY_BYTES: a file that needs more gives an error."""
    with contextlib.suppress(OSError, ValueError):  # some other limit is lower
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def serve(requests: BinaryIO, replies: BinaryIO, keep: Keep) -> None:
    """Answer each line of `requests` with a fingerprint, what the image waits for, or what is wrong.

    `keep` is called with each image that is decoded as its data set decides.
    """
    for request in requests:
        index, path, choice, is_alone = json.loads(request)
        try:
            reply: object = _reply(index, Path(path), choice and Choice(**choice), is_alone, keep)
        except Exception as error:  # PIL raises OSError, SyntaxError, ValueError, struct.error, ...
            reply = why(Path(path), error)
        replies.write(json.dumps(reply).encode() + b"\n")
        replies.flush()


def _reply(
    index: int, path: Path, choice: Choice | None, is_alone: bool, keep: Keep
) -> dict[str, object] | None:
    """Return what `_parsed` reads."""
    try:
        read = read_image(path, is_alone=is_alone)
    except LargeImageError:
        return None
    if isinstance(read, Deep) and (choice is None or not read.fits(choice)):
        return asdict(read.survey())
    picture = shown(read, choice)
    keep(index, picture.image)
    found = fingerprint(picture)
    return asdict(found) | {"pixels": found.pixels.hex(), "phash": found.phash.hex()}


def _parsed(reply: Any) -> Reply:
    if reply is None or isinstance(reply, str):
        return reply
    if "kind" in reply:
        windows = tuple((name, hides) for name, hides in reply["windows"])
        return Survey(kind=reply["kind"], span=tuple(reply["span"]), windows=windows)
    pixels, phash = bytes.fromhex(reply["pixels"]), bytes.fromhex(reply["phash"])
    return Fingerprint(
        pixels=pixels, phash=phash, featureless=reply["featureless"], notes=tuple(reply["notes"])
    )


def why(path: Path, error: Exception) -> str:
    """Return what is wrong with a file, in one line that begins with its path."""
    if not path.exists():
        return f"{path}: not found"
    if path.stat().st_size == 0:
        return f"{path}: empty file"
    if isinstance(error, UnidentifiedImageError):
        return f"{path}: not an image"
    if isinstance(error, MemoryError):
        return f"{path}: decoding needs more than {MEMORY_BYTES / 2**30:.0f} GiB of memory; save it smaller"
    return f"cannot decode {path}: {' '.join(str(error).split()) or type(error).__name__}"


def _death(returncode: int | None) -> str:
    try:
        return signal.Signals(-(returncode or 0)).name
    except ValueError:
        return f"exit status {returncode}"
