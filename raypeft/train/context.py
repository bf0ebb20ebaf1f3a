"""Context: where one trial runs and who hears of it; it changes numbers only by rounding."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from raypeft.store import Store
from raypeft.train.checkpoint import Checkpoints
from raypeft.train.workers import Workers


@dataclass(frozen=True, kw_only=True)
class Context:
    """The surroundings of one trial, the same object throughout."""

    store: Store  # its cache holds what the plan prepared; a final run leaves predictions and adapter here
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    workers: Workers = field(default_factory=Workers)  # each of several is in the same call
    checkpoints: Checkpoints | None = None  # to go on from, and to save to
    beat: Callable[[], object] = lambda: None  # called before every forward pass, and while others compute
    micro_batch_size: int | None = None  # fewer images at a time than the recipe says: the same gradient
    precision: str = "auto"  # fp32 or bf16 once the network is built
    # for the row
    sweep: str = ""
    attempt: int = 1
    remarks: tuple[str, ...] = ()  # notes from earlier attempts

    def before_forward(self, *_: object) -> None:
        """Call `beat`; a hook of a module."""
        self.beat()
