"""Fit a checkpoint to a network: find its weights in the file, and give them the network's own names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypeft.core.errors import WeightsError, list_problems
from raypeft.models.checkpoints import StateDict, read_checkpoint
from raypeft.models.key_names import Tensors
from raypeft.models.readings import WRAPPERS, Reading, readings

if TYPE_CHECKING:
    import torch
    from torch import nn

SHOWN = 3  # differences

# What may be left out of the network's own part of a file: pre-training heads, decoders and their kin.
LEFT_OUT = re.compile(
    r"^(heads?|classifier|fc|last_linear|logit|proj|projector|projection|projection_head|predictor|prototypes"
    r"|mlp_head|contrastive_head|decoder\w*|mask_tokens?|pooler|pre_logits|op_threshs|queue\w*|logit_scale"
    r"|logit_bias|text\w*|AuxLogits|head_\w+|dino_head|ibot_head)(\.|$)"
    r"|(^|\.)(relative_position_index|attn_mask|position_ids|num_batches_tracked)$"
)


@dataclass(frozen=True, kw_only=True)
class FitNotes:
    """How a file's tensors became a network's."""

    where: tuple[str, ...]  # the keys of the file under which they lie
    prefix: str  # cut from their names
    naming: str  # whose names they were; "": the network's own
    loaded: int
    left_out: tuple[str, ...]  # of the file
    changed: tuple[str, ...]  # interpolated, adapted, converted
    missing: tuple[str, ...]  # of the classifier

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> FitNotes:
        """Return the notes that dataclasses.asdict wrote, also after JSON."""
        settled: dict[str, Any] = {
            name: tuple(one) if isinstance(one, list) else one for name, one in content.items()
        }
        return cls(**settled)

    def lines(self) -> list[str]:
        """Return the notes for people, one fact per line."""
        place = "".join(f"['{key}']" for key in self.where)
        named = f", named as by {self.naming}" if self.naming else ""
        under = f" under '{self.prefix}'" if self.prefix else ""
        found = f" of {place}" if place else ""
        lines = [f"{self.loaded:,} tensors{found}{under}{named}"]
        if self.left_out:
            lines.append(f"left out: {', '.join(self.left_out)}")
        lines += self.changed
        if self.missing:
            lines.append(f"without {', '.join(self.missing)}, which fine-tuning makes anew")
        return lines


def load_weights(network: nn.Module, path: Path) -> FitNotes:
    """Load a checkpoint into the network it was made for; return how. Raises: WeightsError as fit_checkpoint.

    Wrappers, prefixes and the names of other codes are recognised. The classifier may be missing or have
    other classes, as fine-tuning makes its own; everything else must be there, and fit.
    """
    tensors, notes = fit_checkpoint(network, read_checkpoint(path), label=f"weights {path}")
    network.load_state_dict(tensors, strict=False)
    return notes


def fit_checkpoint(
    network: nn.Module, found: Sequence[StateDict], *, label: str = "weights"
) -> tuple[Tensors, FitNotes]:
    """Return the tensors under the network's own names, and notes; `label` begins the messages.

    Of all state dicts and prefixes the one is taken under which most tensors fit.
    Raises: WeightsError naming the first differences, or if two networks in the file fit equally.
    """
    wanted = network.state_dict()
    classifier = _classifier_names(network)
    needed = {name: one for name, one in wanted.items() if name not in classifier}
    best, *others = readings(network, found, wanted, needed)
    extra = [name for name in best.tensors if name not in wanted and not LEFT_OUT.search(name)]
    if best.fits < len(needed) or extra:
        raise WeightsError(_refusal(label, network, found, best, needed, extra))
    for other in others:
        if other.rank[:-1] == best.rank[:-1] and best.differs(other, needed):
            raise WeightsError(f"{label}: two networks in it fit, {best} and {other}; save one of them")
    tensors = {
        name: best.tensors[name]
        for name, one in wanted.items()
        if name in best.tensors and best.tensors[name].shape == one.shape
    }
    if broken := [name for name, one in tensors.items() if one.is_floating_point() and not _is_finite(one)]:
        raise WeightsError(
            f"{label}: {len(broken)} of its tensors hold NaN or infinite values, e.g. {broken[0]}: its "
            "training diverged, or the file is damaged; give another checkpoint"
        )
    return tensors, FitNotes(
        where=best.found.where,
        prefix=best.prefix,
        naming=best.naming,
        loaded=len(tensors),
        left_out=tuple(_left_out(best, tensors)),
        changed=best.changed,
        missing=tuple(sorted(classifier - tensors.keys())),
    )


def _is_finite(tensor: torch.Tensor) -> bool:
    return tensor.is_meta or bool(tensor.isfinite().all())


def _classifier_names(network: Any) -> set[str]:
    """Return the names of the tensors of the classifier, or of both if there are two (DeiT, VOLO)."""
    found = network.get_classifier() if hasattr(network, "get_classifier") else ()
    heads = {id(head) for head in (found if isinstance(found, (tuple, list)) else (found,))}
    parts = {name for name, module in network.named_modules() if id(module) in heads}
    published = getattr(network, "pretrained_cfg", {}).get("classifier") or ()  # timm's; some name two
    parts |= {published} if isinstance(published, str) else set(published)
    return {name for name in network.state_dict() for part in parts if name.startswith(f"{part}.")}


def _left_out(best: Reading, tensors: Tensors) -> list[str]:
    """Return the groups of the file's tensors that are not used, with their numbers."""
    outside = [name for name in best.found.tensors if not name.startswith(best.prefix)]
    inside = [*best.lost, *(name for name in best.tensors if name not in tensors)]
    groups = Counter(_group(name) for name in outside) + Counter(_group(name) for name in inside)
    return [f"{group} ({number:,})" if number > 1 else group for group, number in sorted(groups.items())]


def _group(name: str) -> str:
    """Return the first parts of a name: wrappers, and the part in them."""
    parts = name.split(".")
    wrappers = next((number for number, part in enumerate(parts) if part not in WRAPPERS), 0)
    return ".".join(parts[: wrappers + 1])


def _refusal(
    label: str,
    network: nn.Module,
    found: Sequence[StateDict],
    best: Reading,
    needed: Mapping[str, torch.Tensor],
    extra: Sequence[str],
) -> str:
    kind = type(network).__name__
    if not best.named:
        return (
            f"{label}: nothing in it fits {kind}\n{list_problems([str(one) for one in found])}\n"
            f"{kind} begins with '{next(iter(needed))}'; give a file that was made for this model, or choose "
            "the model of this file"
        )
    differences = [
        *_other_shapes(best, needed),
        *_grouped(extra, best.tensors, "the file has {}, the model not"),
    ]
    missing = [name for name in needed if name not in best.tensors]
    differences += _grouped(missing, needed, "the model has {}, the file not")
    rest = [f"and {len(differences) - SHOWN} more kinds"] if len(differences) > SHOWN else []
    return (
        f"{label}: {best.fits:,} of the {len(needed):,} tensors that {kind} needs fit, of "
        f"{best}\n{list_problems(differences[:SHOWN] + rest)}\n"
        "give a file that was made for this model, or choose the model of this file"
    )


def _other_shapes(best: Reading, needed: Mapping[str, torch.Tensor]) -> list[str]:
    differing = {
        name: one
        for name, one in needed.items()
        if name in best.tensors and best.tensors[name].shape != one.shape
    }
    return [
        f"'{names[0]}' is {tuple(best.tensors[names[0]].shape)} in the file, "
        f"{tuple(needed[names[0]].shape)} in the model{_others(names)}"
        for names in _kinds(differing)
    ]


def _grouped(names: Iterable[str], tensors: Mapping[str, torch.Tensor], sentence: str) -> list[str]:
    return [
        sentence.format(f"'{kind[0]}' {tuple(tensors[kind[0]].shape)}") + _others(kind)
        for kind in _kinds(names)
    ]


def _kinds(names: Iterable[str]) -> list[list[str]]:
    """Return the names in groups that differ in numbers only."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(re.sub(r"\d+", "N", name), []).append(name)
    return list(kinds.values())


def _others(names: Sequence[str]) -> str:
    return f" ({len(names):,} such)" if len(names) > 1 else ""
