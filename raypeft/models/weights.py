"""State dicts: read without running code, and loaded only into the network they were made for."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from raypeft.core.errors import WeightsError, list_problems

if TYPE_CHECKING:
    import torch
    from torch import nn

HEADS = ("head", "fc", "classifier")  # timm's names


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a state dict by name, or in order if the file shares no name with the model.

    Published files keep the key names of the code that made them. Every shape is compared, and in
    order also the last part of every name: a BatchNorm's weight, bias, mean and variance have one
    shape. A head with other classes, or a missing head, is ignored: fine-tuning makes its own.
    Raises: WeightsError naming the first tensors that do not fit.
    """
    wanted = network.state_dict()
    state = _on_the_grid(network, read_weights(path))
    by_name = [
        (name, name) for name in wanted | state if _fits(name, wanted, name, state) or not _in_head(name)
    ]
    in_order = list(itertools.zip_longest(wanted, state, fillvalue=""))
    pairs = by_name if wanted.keys() & state.keys() else in_order
    problems = [
        f"the file has {_describe(found, state)}, the model {_describe(name, wanted)}"
        for name, found in pairs
        if not _fits(name, wanted, found, state)
    ]
    if problems:
        raise WeightsError(
            f"weights {path}: of another architecture\n{list_problems(problems)}\n"
            "give the file that was made for this model, or reinstall raypeft"
        )
    network.load_state_dict({name: state[found] for name, found in pairs}, strict=False)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return a state dict from .safetensors, or from .pth without running code that it may carry.

    Raises: WeightsError.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"weights {path}: not found; reinstall raypeft or give the right path") from None
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"weights {path}: not a readable weights file ({error})") from error
    except Exception as error:  # torch.load has no error of its own: KeyError, EOFError, UnpicklingError...
        raise WeightsError(
            f"weights {path}: refused, not a plain state dict ({type(error).__name__}); raypeft never runs "
            "pickled code: save the tensors with safetensors"
        ) from error
    while isinstance(state, dict) and isinstance(inner := state.get("state_dict", state.get("model")), dict):
        state = inner  # as training scripts wrap it
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    ):
        raise WeightsError(f"weights {path}: not a state dict; save model.state_dict() with safetensors")
    return state


def _on_the_grid(network: nn.Module, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the state with its position embeddings interpolated by timm for a network of another size."""
    wanted, found = getattr(network, "pos_embed", None), state.get("pos_embed")
    if wanted is None or found is None or wanted.shape == found.shape:
        return state
    resample = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    return dict(resample(state, network)) if resample else state


def _in_head(name: str) -> bool:
    return name.split(".")[0] in HEADS


def _fits(
    name: str, wanted: Mapping[str, torch.Tensor], found: str, state: Mapping[str, torch.Tensor]
) -> bool:
    if name not in wanted or found not in state:
        return False
    same_role = name.rpartition(".")[2] == found.rpartition(".")[2]
    return same_role and wanted[name].shape == state[found].shape


def _describe(name: str, tensors: Mapping[str, torch.Tensor]) -> str:
    return f"'{name}' {tuple(tensors[name].shape)}" if name in tensors else "no such tensor"
