"""Adapters of the `peft` library: DoRA, (IA)3, OFT, LoKr, VeRA.

Paper:   Liu et al., ICML 2024, arXiv:2402.09353 (DoRA); Liu et al., NeurIPS 2022, arXiv:2205.05638
         ((IA)3); Qiu et al., NeurIPS 2023, arXiv:2306.07280 (OFT); Yeh et al., ICLR 2024,
         arXiv:2309.14859 (LoKr); Kopiczko et al., ICLR 2024, arXiv:2310.11454 (VeRA).
Adds:    what `peft` adds to the fused qkv matrix of every block of a ViT ((IA)3: also to fc1), or to
         every ungrouped convolution inside a block of a convolutional network.
Step 0: output unchanged.     Buffers: BatchNorm statistics frozen.

A further adapter of `peft` joins with one entry in ADAPTERS. OFT stays on ViTs: on convolutions it
fails where the map is smaller than the kernel, and rounds its block size to what divides the channels.
BOFT is left out: without its CUDA extension `peft` silently replaces its butterfly by a single factor,
so that a result would depend on the machine's compiler.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from raypeft.core.errors import ConfigError
from raypeft.methods.base import Family, backbone_modules, block_convolutions, register_method

Site = nn.Linear | nn.Conv2d


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """One kind of adapter: where it goes, what `peft` calls its configuration, what it adds per site."""

    paper: str
    families: frozenset[Family]
    config: str  # class in `peft`
    rank: str | None  # `peft`'s name of the option that raypeft calls rank
    default: int | None
    count: Callable[[Site, int | None], int]
    settings: Mapping[str, Any] = field(default_factory=dict)
    vit_targets: tuple[str, ...] = ("attn.qkv",)


def _fan(site: Site) -> tuple[int, int, int]:
    """Inputs, outputs and kernel positions of a layer; weight (out, in, ...)."""
    weight = site.weight
    return weight.shape[1], weight.shape[0], weight[0, 0].numel()


def _count_dora(site: Site, rank: int | None) -> int:
    """A (rank, in * k), B (out, rank) and one magnitude per output."""
    fan_in, fan_out, kernel = _fan(site)
    return (rank or 0) * (fan_in * kernel + fan_out) + fan_out


def _count_ia3(site: Site, rank: int | None) -> int:
    """One factor per output."""
    return site.weight.shape[0]


def _count_oft(site: Site, rank: int | None) -> int:
    """A skew-symmetric matrix per block of inputs."""
    fan_in, _, kernel = _fan(site)
    size = rank or 0
    return fan_in * kernel // size * (size * (size - 1) // 2)


def _count_lokr(site: Site, rank: int | None) -> int:
    """C (a, c) and the low-rank or full (b, d * k) of W = C (x) D, for out = a b and in = c d."""
    fan_in, fan_out, kernel = _fan(site)
    (a, b), (c, d), r = _near_square(fan_out), _near_square(fan_in), rank or 0
    return a * c + (r * (b + d * kernel) if r < max(b, d) / 2 else b * d * kernel)


def _count_vera(site: Site, rank: int | None) -> int:
    """d (rank) and b (out); the shared random A and B are not trained."""
    return (rank or 0) + site.weight.shape[0]


def _near_square(number: int) -> tuple[int, int]:
    """The two factors of `number` that are nearest to each other, the smaller first."""
    small = next(m for m in range(math.isqrt(number), 0, -1) if number % m == 0)
    return small, number // small


ANY: frozenset[Family] = frozenset({"conv", "vit"})
ADAPTERS = {
    "dora": Adapter(
        paper="Liu et al., ICML 2024, equation 5",
        families=ANY,
        config="LoraConfig",
        rank="r",
        default=16,
        count=_count_dora,
        settings={"use_dora": True, "lora_alpha": 16},
    ),
    "ia3": Adapter(
        paper="Liu et al., NeurIPS 2022, section 3.3",
        families=ANY,
        config="IA3Config",
        rank=None,
        default=None,
        count=_count_ia3,
        settings={"feedforward_modules": []},
        vit_targets=("attn.qkv", "mlp.fc1"),
    ),
    "oft": Adapter(
        paper="Qiu et al., NeurIPS 2023, section 3.2",
        families=frozenset({"vit"}),
        config="OFTConfig",
        rank="oft_block_size",
        default=32,
        count=_count_oft,
    ),
    "lokr": Adapter(
        paper="Yeh et al., ICLR 2024, section 3.2",
        families=ANY,
        config="LoKrConfig",
        rank="r",
        default=8,
        count=_count_lokr,
        settings={"alpha": 8},
    ),
    "vera": Adapter(
        paper="Kopiczko et al., ICLR 2024, equation 2",
        families=frozenset({"vit"}),
        config="VeraConfig",
        rank="r",
        default=256,
        count=_count_vera,
        settings={"save_projection": False, "projection_prng_key": 0},
    ),
}


def _sites(model: nn.Module, adapter: Adapter) -> dict[str, Site]:
    """The layers that get an adapter, by name."""
    if convolutions := block_convolutions(model):
        return {name: conv for name, conv in convolutions if conv.groups == 1}
    return {
        name: module
        for name, module in backbone_modules(model)
        if isinstance(module, nn.Linear) and name.endswith(adapter.vit_targets)
    }


def _config(adapter: Adapter, targets: Sequence[str], rank: int | None) -> Any:
    import peft  # takes seconds to import, and only these methods need it

    options = {adapter.rank: rank} if adapter.rank else {}
    with warnings.catch_warnings():
        # VeRA's random matrices follow from the seed; `peft` would rather store them.
        warnings.filterwarnings("ignore", message="Specified to not save vera_A and vera_B")
        return getattr(peft, adapter.config)(target_modules=list(targets), **options, **adapter.settings)


def _insert(model: nn.Module, adapter: Adapter, rank: int | None) -> None:
    from peft import get_peft_model

    with warnings.catch_warnings():
        # A size that does not fit is an answer to the user, not something to round in silence.
        warnings.filterwarnings("error", message="Invalid `oft_block_size`")
        try:
            get_peft_model(model, _config(adapter, [*_sites(model, adapter)], rank))
        except (ValueError, UserWarning) as error:
            raise ConfigError(f"{adapter.config}, rank={rank}: {error}") from error


def _inserted(model: nn.Module) -> dict[str, Any]:
    """The layers of `peft`, by name."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)}


def _merge(model: nn.Module) -> None:
    for name, layer in _inserted(model).items():
        layer.merge()
        model.set_submodule(name, layer.get_base_layer())


def _register(name: str, adapter: Adapter) -> None:
    def count(model: nn.Module, *, rank: int | None = adapter.default) -> int:
        return sum(adapter.count(site, rank) for site in _sites(model, adapter).values())

    def insert(model: nn.Module, *, rank: int | None = adapter.default) -> None:
        _insert(model, adapter, rank)

    def insert_plain(model: nn.Module) -> None:
        _insert(model, adapter, None)

    def describe(model: nn.Module, *, rank: int | None = adapter.default) -> dict[str, Any]:
        config = _config(adapter, [*_inserted(model)], rank).to_dict()
        return {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}

    register_method(
        name,
        families=set(adapter.families),
        paper=adapter.paper,
        count=count,
        merge=_merge,
        peft_config=describe,
    )(insert if adapter.rank else insert_plain)


for _name, _adapter in ADAPTERS.items():
    _register(_name, _adapter)
