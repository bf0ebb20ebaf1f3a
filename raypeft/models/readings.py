"""The ways to read a checkpoint for a network: which state dict, which prefix, whose names."""

from __future__ import annotations

import inspect
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raypeft.models.checkpoints import StateDict
from raypeft.models.key_names import NAMINGS, Tensors, naming_of
from raypeft.models.tensor_shapes import adapt_shapes, grid_of

if TYPE_CHECKING:
    import torch
    from torch import nn

PREFIXES = 3  # tried of those under which most names are the network's

# Wrappers that hold a network, for files of which only timm's conversion knows the names.
WRAPPERS = {
    "_orig_mod", "backbone", "base_encoder", "encoder", "encoder_q", "image_encoder", "model", "module",
    "net", "network", "student", "teacher", "trunk", "visual",
}  # fmt: skip
# The copies that training keeps of a network, for use when the file has no other.
COPY = re.compile(r"(^|[._])(ema|momentum|student|k|target|predictor|average)($|[._])")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One way to read a file."""

    found: StateDict
    prefix: str
    naming: str
    tensors: Tensors  # under the network's names, or nearly
    changed: tuple[str, ...]
    lost: tuple[str, ...]  # names that timm's conversion left out
    named: int  # of the needed tensors, those whose names are there
    fits: int  # and those whose shapes are right as well

    def __str__(self) -> str:
        """Return where in the file it is."""
        under = f" under '{self.prefix}'" if self.prefix else ""
        return f"{self.found.place}{under}"

    @property
    def rank(self) -> tuple[int, int, bool, int]:
        """Return what comes first: the most that fits, then what is no copy, then the longest prefix."""
        is_copy = any(map(COPY.search, (*self.found.where, self.prefix)))
        return self.fits, self.named, not is_copy, len(self.prefix)

    def differs(self, other: Reading, names: Iterable[str]) -> bool:
        """True if any tensor of `names` has other values there."""
        return any(not self.tensors[name].equal(other.tensors[name]) for name in names)


def readings(
    network: nn.Module, found: Sequence[StateDict], wanted: Mapping[str, Any], needed: Mapping[str, Any]
) -> list[Reading]:
    """Return every way to read the file, best first: that under which most of the `needed` tensors fit.

    `wanted`: all tensors of the network. A reading of a file's only network comes before one of a copy that
    training keeps (an average, a student), and a longer prefix before a shorter one.
    """
    return sorted(_all(network, found, wanted, needed), key=lambda one: one.rank, reverse=True)


def _all(
    network: nn.Module, found: Sequence[StateDict], wanted: Mapping[str, Any], needed: Mapping[str, Any]
) -> Iterator[Reading]:
    for one in found:
        for prefix in _prefixes(one, needed):
            yield _reading(network, one, prefix, wanted, needed)


def _prefixes(found: StateDict, needed: Mapping[str, Any]) -> Iterable[str]:
    """Return the prefixes to try: those before the network's names, or before another code's, and none."""
    own: Counter[str] = Counter()
    others = dict.fromkeys([""])
    for name in found.tensors:
        for start in _starts(name):
            if name[start:] in needed:
                own[name[:start]] += 1
            if all(part in WRAPPERS for part in name[:start].split(".")[:-1]):
                others[name[:start]] = None
        for naming in NAMINGS:
            if name.endswith(f".{naming.anchor}"):
                others[name.removesuffix(naming.anchor)] = None
    return dict.fromkeys([prefix for prefix, _ in own.most_common(PREFIXES)]) | others


def _starts(name: str) -> Iterator[int]:
    yield 0
    yield from (match.end() for match in re.finditer(r"\.", name))


def _reading(
    network: nn.Module, found: StateDict, prefix: str, wanted: Mapping[str, Any], needed: Mapping[str, Any]
) -> Reading:
    cut = {name.removeprefix(prefix): one for name, one in found.tensors.items() if name.startswith(prefix)}
    naming = naming_of(cut, wanted)
    renamed = naming.rename(cut, wanted) if naming else cut
    tensors = _converted(network, renamed, wanted)
    changed = _interpolated(renamed, tensors) + adapt_shapes(tensors, wanted)
    return Reading(
        found=found,
        prefix=prefix,
        naming=naming.name if naming else "",
        tensors=tensors,
        changed=tuple(changed),
        lost=tuple(_lost(renamed, tensors)),
        named=len(needed.keys() & tensors.keys()),
        fits=sum(name in tensors and tensors[name].shape == one.shape for name, one in needed.items()),
    )


def _converted(network: nn.Module, tensors: Tensors, wanted: Mapping[str, Any]) -> Tensors:
    """Return what timm makes of a checkpoint for such a network, or the same tensors if it has no way.

    Differs from timm: patches of another size are kept as they are, and so do not fit.
    """
    convert = _conversion(network)
    patches = "patch_embed.proj.weight"
    held = {
        name: one
        for name, one in tensors.items()
        if name == patches and name in wanted and one.shape[2:] != wanted[name].shape[2:]
    }
    if convert is None or held:
        return dict(tensors)
    given = dict(tensors)
    if "register_tokens" in given or any(".mlp.w12." in name for name in given):
        import torch

        given.setdefault("mask_token", torch.zeros(1))  # by which timm knows DINOv2's names
    try:
        return dict(convert(given))
    except Exception:  # it expects certain tensors, and fails in as many ways as there are others
        return dict(tensors)


def _conversion(network: nn.Module) -> Callable[[Tensors], Mapping[str, torch.Tensor]] | None:
    """Return the function with which timm reads checkpoints of a network; it stands beside the class."""
    modules = [
        kind.__module__ for kind in type(network).__mro__ if kind.__module__.startswith("timm.models.")
    ]
    names = ("checkpoint_filter_fn", "_filter_fn", "pretrained_filter_fn", "_filter_torchvision_pretrained")
    for function in (getattr(sys.modules[module], name, None) for module in modules for name in names):
        if function is None:
            continue
        parameters = inspect.signature(function).parameters
        options: dict[str, Any] = {"adapt_layer_scale": True} if "adapt_layer_scale" in parameters else {}
        if "model" in parameters:
            options["model"] = network
        return lambda tensors: function(tensors, **options)
    return None


def _interpolated(before: Tensors, after: Tensors) -> list[str]:
    """Return a note for each kind of positions whose grid timm changed."""
    notes: dict[str, str] = {}
    for name, tensor in after.items():
        source = before.get(name, before.get("visual.positional_embedding") if name == "pos_embed" else None)
        if source is None or "pos" not in name or source.shape == tensor.shape:
            continue
        if name != "pos_embed":
            kind = re.sub(r"\d+", "N", name)
            notes.setdefault(kind, f"{kind} interpolated, e.g. {len(source)} to {len(tensor)}")
        elif grid_of(source) != grid_of(tensor):
            notes[name] = f"{name} interpolated from {grid_of(source)} to {grid_of(tensor)} patches a side"
    return list(notes.values())


def _lost(before: Tensors, after: Tensors) -> list[str]:
    """Return the names that timm's conversion left out, by where their numbers lie."""
    kept = {tensor.untyped_storage().data_ptr() for tensor in after.values()}
    return [
        name
        for name, tensor in before.items()
        if name not in after and "pos" not in name and tensor.untyped_storage().data_ptr() not in kept
    ]
