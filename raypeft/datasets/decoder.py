"""Image files decoded in processes of their own: a hostile image kills or hangs only its decoder.

The parent sends one path a line, as JSON, and waits for one line. Pixels go into a file that both
map, so that no image passes through a pipe.
"""

import contextlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from raypeft.datasets.images import Fingerprint, fingerprint, to_rgb

TIMEOUT_SECONDS = 60.0  # per image; a healthy one takes milliseconds


def decode_files(
    paths: Sequence[Path],
    *,
    pixels: Path | None,
    image_size: int = 0,
    interpolation: str = "bilinear",
    watch: Callable[[int], object] = lambda done: None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> list[Fingerprint | str]:
    """Fingerprints in the order of `paths`, or what is wrong with a file.

    `pixels`: a file to fill with uint8 (n, image_size, image_size, 3); it must have that size.
    None: fingerprints alone. `watch` is called with the number of images done.
    """
    results: list[Fingerprint | str] = [""] * len(paths)
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(len(paths)):
        waiting.put(index)
    arguments = [str(pixels or ""), str(len(paths)), str(image_size), interpolation]
    lock, num_done = threading.Lock(), 0

    def work() -> None:
        nonlocal num_done
        decoder = _Decoder(arguments, timeout_seconds)
        try:
            while True:
                index = waiting.get_nowait()
                results[index] = decoder.ask(index, paths[index])
                with lock:
                    num_done += 1
                    watch(num_done)
        except queue.Empty:
            return
        finally:
            decoder.stop()

    threads = [threading.Thread(target=work) for _ in range(min(os.cpu_count() or 1, len(paths)))]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    finally:  # on Ctrl-C: nothing more to do
        while not waiting.empty():
            waiting.get()
    return results


class _Decoder:
    """One decoding process, started again after each image that killed it or made it hang."""

    def __init__(self, arguments: list[str], timeout_seconds: float) -> None:
        # Not -m: the package imports this module, and runpy warns of a second copy.
        program = (
            "from raypeft.core.environment import isolate; isolate(); "
            "from raypeft.datasets.decoder import main; main()"
        )
        self._command = [sys.executable, "-P", "-c", program, *arguments]
        self._timeout_seconds = timeout_seconds
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, index: int, path: Path) -> Fingerprint | str:
        """The image's fingerprint, or what is wrong with the file."""
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # libraries print names of files and values of headers
                bufsize=0,
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it is dead already: told below
            process.stdin.write(json.dumps([index, str(path)]).encode() + b"\n")
        readable, _, _ = select.select([process.stdout], [], [], self._timeout_seconds)
        reply = process.stdout.readline() if readable else b""
        if reply:
            content = json.loads(reply)
            if isinstance(content, str):
                return content
            return Fingerprint(pixels=bytes.fromhex(content[0]), phash=bytes.fromhex(content[1]))
        self.stop()
        if not readable:
            return f"{path}: its decoder did not answer for {self._timeout_seconds:g} s"
        return f"{path}: it crashed the decoder ({_death(process.returncode)})"

    def stop(self) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        if process.stdin is not None:
            process.stdin.close()  # a healthy decoder ends here
        try:
            process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def main() -> None:
    """The decoding process: arguments are those of `decode_files`."""
    pixels, num_images, image_size, interpolation = sys.argv[1:]
    side = int(image_size)
    shape = (int(num_images), side, side, 3)
    target = np.memmap(pixels, dtype=np.uint8, mode="r+", shape=shape) if pixels else None
    serve(sys.stdin.buffer, sys.stdout.buffer, target, Image.Resampling[interpolation.upper()])


def serve(
    requests: BinaryIO, replies: BinaryIO, target: np.ndarray | None, resample: Image.Resampling
) -> None:
    """Answer each line of `requests` with a fingerprint or a text that says what is wrong."""
    for request in requests:
        index, path = json.loads(request)
        try:
            image = to_rgb(Path(path))
            if target is not None:
                target[index] = np.asarray(resized(image, target.shape[1], resample))
            found = fingerprint(image)
            reply: object = [found.pixels.hex(), found.phash.hex()]
        except Exception as error:  # PIL raises OSError, SyntaxError, ValueError, struct.error, ...
            reply = why(Path(path), error)
        replies.write(json.dumps(reply).encode() + b"\n")
        replies.flush()


def resized(image: Image.Image, side: int, resample: Image.Resampling) -> Image.Image:
    """The whole image as a square, antialiased: a crop could lose a lesion at the border."""
    return image.resize((side, side), resample)


def why(path: Path, error: Exception) -> str:
    """What is wrong with a file, in one line that begins with its path."""
    if not path.exists():
        return f"{path}: not found"
    if path.stat().st_size == 0:
        return f"{path}: empty file"
    if isinstance(error, UnidentifiedImageError):
        return f"{path}: not an image"
    return f"cannot decode {path}: {' '.join(str(error).split()) or type(error).__name__}"


def _death(returncode: int | None) -> str:
    try:
        return signal.Signals(-(returncode or 0)).name
    except ValueError:
        return f"exit status {returncode}"
