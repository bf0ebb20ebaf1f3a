"""Decoding happens once, in processes that may die, and names every file that it cannot use."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from raypeft.core.errors import DataError
from raypeft.core.resize import Resize
from raypeft.datasets import open_dataset
from raypeft.datasets.cache import content_digests, decode, image_file, images_digest, open_images
from raypeft.datasets.decoder import decode_files
from raypeft.datasets.squares import resized

BICUBIC = Resize(image_size=16, interpolation="bicubic")


def decoded(source: str, tmp_path: Path, resize: Resize = BICUBIC, shared: Path | None = None) -> np.ndarray:
    table = open_dataset(source)
    return decode(
        table,
        content_digests(table),
        resize=resize,
        cache_dir=tmp_path / "cache",
        shared_cache=shared,
    ).images


def cache_file(source: str, tmp_path: Path, resize: Resize = BICUBIC) -> Path:
    digest = images_digest(content_digests(open_dataset(source)))
    return image_file(tmp_path / "cache", digest, resize=resize)


def test_images_are_resized_whole_and_in_order(class_folders, tmp_path):
    images = decoded(f"folder:{class_folders}", tmp_path)
    assert images.shape == (40, 16, 16, 3)
    for case, name in ((0, "benign/0.png"), (20, "malignant/0.png")):
        expected = Image.open(class_folders / name).resize((16, 16), Image.Resampling.BICUBIC)
        assert np.array_equal(images[case], np.asarray(expected))


def test_what_is_decoded_is_what_squares_makes_and_ways_do_not_mix(class_folders, tmp_path):
    """Decoded in other processes, from images that are four pixels wider than high."""
    source, table = f"folder:{class_folders}", open_dataset(f"folder:{class_folders}")
    ways = [replace(BICUBIC, fit=fit) for fit in ("stretch", "pad", "crop")]
    for _ in range(2):  # decoded, and from the cache
        for way in ways:
            expected = [resized(Image.open(path).convert("RGB"), way) for path in table.paths]
            assert np.array_equal(decoded(source, tmp_path, way), np.stack(expected))
    files = {cache_file(source, tmp_path, way).name for way in ways}
    assert files == {path.name for path in (tmp_path / "cache" / "images").iterdir()}
    digest = images_digest(content_digests(table))
    assert files == {f"{digest}-16-bicubic{end}.arrow" for end in ("", "-pad", "-crop")}


def test_a_second_decode_reads_the_file_of_the_first(class_folders, tmp_path):
    source = f"folder:{class_folders}"
    decoded(source, tmp_path)
    written = cache_file(source, tmp_path).stat().st_mtime_ns
    decoded(source, tmp_path)
    assert cache_file(source, tmp_path).stat().st_mtime_ns == written
    assert {path.suffix for path in (tmp_path / "cache" / "images").iterdir()} == {".arrow"}


@pytest.mark.parametrize("kept", [0, 100, -100])
def test_a_truncated_file_is_refused_by_trials_and_written_again_by_a_driver(
    class_folders, tmp_path, kept, caplog
):
    source = f"folder:{class_folders}"
    first = np.array(decoded(source, tmp_path))
    cache = cache_file(source, tmp_path)
    cache.write_bytes(cache.read_bytes()[:kept])
    with pytest.raises(DataError, match="damaged or truncated decoded images"):
        open_images(cache)
    assert np.array_equal(decoded(source, tmp_path), first)
    assert "decoding again" in caplog.text


def test_a_changed_file_is_decoded_again(class_folders, tmp_path, write_image):
    source = f"folder:{class_folders}"
    before = np.array(decoded(source, tmp_path))
    path = write_image(class_folders / "benign" / "0.png", seed=999)
    os.utime(path, (0, 0))  # an old time does not hide it
    after = decoded(source, tmp_path)
    assert not np.array_equal(after[0], before[0])
    assert np.array_equal(after[1:], before[1:])


def test_images_are_a_view_of_the_file_s_pages_that_nobody_can_change(class_folders, tmp_path):
    images = decoded(f"folder:{class_folders}", tmp_path)
    assert not images.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0
    mapped = [one.path for one in psutil.Process().memory_maps() if one.path.endswith(".arrow")]
    assert str(cache_file(f"folder:{class_folders}", tmp_path)) in mapped


def test_two_stores_share_one_file(class_folders, tmp_path):
    source, shared = f"folder:{class_folders}", tmp_path / "shared"
    one = decoded(source, tmp_path / "one", shared=shared)
    other = decoded(source, tmp_path / "other", shared=shared)
    files = [cache_file(source, tmp_path / name) for name in ("one", "other")]
    assert len({path.stat().st_ino for path in files}) == 1
    assert np.array_equal(one, other)


def test_processes_that_want_the_same_file_build_it_once(class_folders, tmp_path):
    program = f"""
from pathlib import Path
from raypeft.core.resize import Resize
from raypeft.datasets import open_dataset
from raypeft.datasets.cache import content_digests, decode
table = open_dataset("folder:{class_folders}")
built = []
decode(table, content_digests(table), resize=Resize(image_size=16, interpolation="bicubic"),
       cache_dir=Path("{tmp_path}/cache"), watch=lambda what, *_: built.append(what))
print(any(what.startswith("decoding") for what in built))
"""
    racing = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    answers = [process.communicate(timeout=120)[0].strip() for process in racing]
    assert [process.returncode for process in racing] == [0, 0, 0]
    assert sorted(answers) == ["False", "False", "True"]
    assert decoded(f"folder:{class_folders}", tmp_path).shape == (40, 16, 16, 3)


def test_what_a_killed_process_left_is_removed(class_folders, tmp_path):
    source = f"folder:{class_folders}"
    cache = cache_file(source, tmp_path)
    cache.parent.mkdir(parents=True)
    left = cache.parent / f".{cache.stem}.raw.0123.tmp"
    left.write_bytes(b"x" * 1000)
    decoded(source, tmp_path)
    assert not left.exists()


def test_digits_keep_their_pixels(tmp_path):
    table = open_dataset("digits")
    images = decoded("digits", tmp_path, resize=replace(BICUBIC, image_size=8))
    assert np.array_equal(images[..., 0], table.images)
    assert np.array_equal(images[..., 0], images[..., 2])
    bunch = load_digits()  # 0 to 16; the rounded 255 / 16 of it
    assert np.abs(images[..., 0] - bunch.images * 255 / 16).max() <= 0.5


def test_a_file_that_vanished_is_named(class_folders, tmp_path):
    table = open_dataset(f"folder:{class_folders}")
    (class_folders / "benign" / "7.png").unlink()
    with pytest.raises(DataError, match=r"benign/7\.png: not found"):
        content_digests(table)


def test_every_bad_file_is_named_with_its_reason_and_nothing_is_cached(class_folders, tmp_path, write_image):
    flipped = class_folders / "benign" / "0.png"
    content = bytearray(flipped.read_bytes())
    for place in range(60, 100):
        content[place] ^= 0xFF
    flipped.write_bytes(content)
    half = write_image(class_folders / "benign" / "half.jpg", side=200)
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    (class_folders / "benign" / "empty.png").write_bytes(b"")
    (class_folders / "benign" / "page.png").write_text("<html>404</html>")
    with pytest.raises(DataError) as caught:
        decoded(f"folder:{class_folders}", tmp_path)
    message = str(caught.value)
    assert "4 of 43 images cannot be used" in message
    assert f"cannot decode {flipped}" in message
    assert f"cannot decode {half}: image file is truncated" in message
    assert f"{class_folders}/benign/empty.png: empty file" in message
    assert f"{class_folders}/benign/page.png: not an image" in message
    assert list((tmp_path / "cache" / "images").glob("*.arrow")) == []
    assert list((tmp_path / "cache" / "images").glob(".*")) == []


def test_a_bad_file_is_named_with_the_line_of_its_table(class_folders, tmp_path):
    (class_folders / "benign" / "0.png").write_bytes(b"")
    (class_folders / "labels.csv").write_text("image,label\nmalignant/0.png,a\nbenign/0.png,b\n")
    with pytest.raises(DataError, match=r"benign/0\.png: empty file \(labels\.csv:3\)"):
        decoded(f"csv:{class_folders}/labels.csv", tmp_path)


def test_a_png_that_crashes_torchvision_s_decoder_is_only_an_error_here(class_folders, tmp_path):
    # 40 flipped bytes within the compressed pixels: torchvision.io 0.29 dies of a segmentation fault
    path = class_folders / "benign" / "0.png"
    content = bytearray(path.read_bytes())
    start = content.index(b"IDAT") + 50
    for place in range(start, start + 40):
        content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"1 of 40 images cannot be used(?s:.*)benign/0\.png"):
        decoded(f"folder:{class_folders}", tmp_path)


@contextmanager
def endless(path: Path) -> Iterator[Path]:
    """A pipe that never says anything: whoever reads it waits for ever."""
    os.mkfifo(path)
    pipe = os.open(path, os.O_RDWR)
    try:
        yield path
    finally:
        os.close(pipe)


def is_decoder(process: psutil.Process) -> bool:
    try:
        return "raypeft.datasets.decoder" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def decoders() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if is_decoder(child)]


def is_reading(process: psutil.Process, path: Path) -> bool:
    try:
        links = list(Path(f"/proc/{process.pid}/fd").iterdir())
    except OSError:  # it has ended since it was listed
        return False
    return any(os.path.realpath(link) == str(path) for link in links)


def test_a_decoder_that_dies_is_told_and_the_other_images_are_decoded(class_folders, tmp_path):
    paths = sorted(class_folders.rglob("*.png"))
    paths.insert(7, tmp_path / "hostile.png")

    def kill_its_reader() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            time.sleep(0.1)
            for process in decoders():
                if is_reading(process, paths[7]):
                    process.send_signal(signal.SIGSEGV)
                    return

    with endless(paths[7]):
        killer = threading.Thread(target=kill_its_reader)
        killer.start()
        results = decode_files(paths, timeout_seconds=120)
        killer.join()
    assert results[7] == f"{paths[7]}: it crashed the decoder (SIGSEGV)"
    assert not [one for index, one in enumerate(results) if isinstance(one, str) and index != 7]
    assert decoders() == []


def test_an_image_that_takes_for_ever_is_told(class_folders, tmp_path):
    paths = [tmp_path / "slow.png", class_folders / "benign" / "0.png"]
    with endless(paths[0]):
        results = decode_files(paths, timeout_seconds=5)
    assert results[0] == f"{paths[0]}: its decoder did not answer for 5 s"
    assert not isinstance(results[1], str)
    assert decoders() == []


def test_an_error_while_images_are_decoded_is_raised_and_not_laid_on_an_image(class_folders):
    def watch(done):
        raise OSError("the screen is gone")

    with pytest.raises(OSError, match="the screen is gone"):
        decode_files([class_folders / "benign" / "0.png"], watch=watch)
    assert decoders() == []


def modes(folder: Path, *, folders: int, files: int) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(folders if path.is_dir() else files)


@pytest.mark.parametrize(("folders", "files"), [(0o755, 0o644), (0o555, 0o444), (0o777, 0o444)])
def test_a_second_user_reads_what_lies_in_a_cache_that_is_not_his(
    open_folder, another_user, caplog, folders, files
):
    """Finished files are opened without a lock; where the lock's file is closed, reading it is enough."""
    shared = open_folder / "shared"
    first = decoded("digits", open_folder / "first", shared=shared).copy()
    modes(shared, folders=folders, files=files)
    with another_user():
        again = decoded("digits", open_folder / "second", shared=shared)
    assert np.array_equal(again, first)
    assert caplog.text == ""


@pytest.mark.parametrize(("folders", "files"), [(0o700, 0o600), (0o755, 0o600), (0o755, None)])
def test_where_a_shared_cache_refuses_the_store_decodes_its_own_and_says_so(
    open_folder, another_user, caplog, folders, files
):
    """A folder closed to others, files closed to others, nothing there yet."""
    shared = open_folder / "shared"
    first = decoded("digits", open_folder / "first", shared=shared).copy()
    if files is None:
        for path in (shared / "images").iterdir():
            path.unlink()
    modes(shared, folders=folders, files=files or 0o600)
    with another_user():
        again = decoded("digits", open_folder / "second", shared=shared)
    assert np.array_equal(again, first)
    assert f"cache {shared} cannot be used (Permission denied: " in caplog.text
    assert "this store decodes its own images" in caplog.text


def test_a_shared_cache_on_a_file_system_without_locks_is_done_without(tmp_path, monkeypatch, caplog):
    import fcntl

    real, shared = fcntl.flock, tmp_path / "shared"

    def flock(file, operation) -> None:
        if Path(file.name).is_relative_to(shared):
            raise OSError(38, "Function not implemented")
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    assert len(decoded("digits", tmp_path, shared=shared)) == len(open_dataset("digits"))
    assert "cannot be used (Function not implemented" in caplog.text
