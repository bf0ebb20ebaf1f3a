"""Open checkpoint files without running code that they may carry, and find the state dicts inside."""

from __future__ import annotations

import codecs
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypeft.core.errors import WeightsError

if TYPE_CHECKING:
    import torch

DEPTH = 4  # of mappings inside mappings; training codes nest two or three

# Classes of what training codes save beside the weights: options, scores, paths. Nothing of them is
# read; an inert object takes the place of each, so that the weights beside it can be.
BESIDE_WEIGHTS = (
    "argparse.Namespace",
    "collections.defaultdict",
    "easydict.EasyDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "numpy.ndarray",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.nodes.AnyNode",
    "pathlib.PosixPath",
    "pathlib.PurePosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "typing.Any",
    "yacs.config.CfgNode",
)


@dataclass(frozen=True, kw_only=True)
class StateDict:
    """Tensors by name, and the keys of the file under which they lie."""

    where: tuple[str, ...]
    tensors: Mapping[str, torch.Tensor]

    @property
    def place(self) -> str:
        """Return where it lies, as Python would reach it."""
        return "".join(f"['{key}']" for key in self.where) or "the file itself"

    def __str__(self) -> str:
        """Return where it lies, how much it holds and how its names look."""
        return f"{self.place}: {len(self.tensors):,} tensors, e.g. '{next(iter(self.tensors))}'"


class _Inert:
    """An object of a class that was not looked for; it takes any arguments and keeps none."""

    def __new__(cls, *_: object, **__: object) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


def read_checkpoint(path: Path) -> list[StateDict]:
    """Return every state dict in a file, outermost first.

    Wrappers of training codes (`model`, `state_dict`, `teacher`...) are opened, whatever their name. What
    lies beside the weights is left alone; classes other than BESIDE_WEIGHTS make the file be refused.

    Raises: WeightsError.
    """
    found = list(_state_dicts(_open(path), ()))
    if not found:
        raise WeightsError(f"weights {path}: no state dict in it; save model.state_dict() with safetensors")
    return found


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return the one state dict of a file. Raises: WeightsError, also for a file that holds several."""
    found = read_checkpoint(path)
    if len(found) > 1:
        listed = "; ".join(map(str, found))
        raise WeightsError(f"weights {path}: several state dicts in it ({listed}); save one of them")
    return dict(found[0].tensors)


def _open(path: Path) -> Any:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    inert: list[Any] = [(_Inert, name) for name in BESIDE_WEIGHTS]
    try:
        # After the length of its header a safetensors file has JSON; some are published as `.bin`.
        if _beginning(path)[8:9] == b"{" or path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(inert):
            return torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except FileNotFoundError:
        raise WeightsError(f"weights {path}: not found; give the right path") from None
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"weights {path}: not a readable weights file ({error})") from error
    except Exception as error:  # torch.load has no error of its own: KeyError, EOFError, UnpicklingError...
        raise WeightsError(
            f"weights {path}: refused, not a plain state dict ({_cause(error)}); raypeft never runs "
            "pickled code: save model.state_dict() with safetensors"
        ) from error


def _beginning(path: Path) -> bytes:
    """Return the first bytes. Raises: WeightsError for what a broken download leaves: none, or text."""
    with path.open("rb") as file:
        beginning = file.read(256)
    if not beginning:
        raise WeightsError(f"weights {path}: an empty file; download it again")
    if (text := _as_text(beginning)) is not None:
        line = text.partition("\n")[0][:60]
        pointer = "Git LFS's pointer to the weights: git lfs pull"
        what = pointer if line.startswith("version https://git-lfs") else "download the weights again"
        raise WeightsError(f"weights {path}: text, not weights (it begins with {line!r}); {what}")
    return beginning


def _as_text(beginning: bytes) -> str | None:
    """Return the beginning of a file as text, None for binary data; a last character may be cut off."""
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(beginning)
    except UnicodeDecodeError:
        return None
    return text if all(letter.isprintable() or letter in "\t\r\n" for letter in text) else None


def _cause(error: Exception) -> str:
    if "TorchScript" in str(error):
        return "a TorchScript archive"
    needs = re.search(r"GLOBAL (\S+)", str(error))
    return f"{type(error).__name__}: it needs {needs[1]}" if needs else type(error).__name__


def _state_dicts(content: Any, where: tuple[str, ...]) -> Iterator[StateDict]:
    if not isinstance(content, Mapping):
        return
    named: dict[str, Any] = {key: value for key, value in content.items() if isinstance(key, str)}
    tensors: dict[str, Any] = {key: one for key, one in named.items() if isinstance(one, _tensor())}
    if tensors:
        yield StateDict(where=where, tensors=tensors)
    if len(where) < DEPTH:
        for key, value in named.items():
            yield from _state_dicts(value, (*where, key))


@functools.cache
def _tensor() -> type:
    import torch  # takes seconds to import

    return torch.Tensor
