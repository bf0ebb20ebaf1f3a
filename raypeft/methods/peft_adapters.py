"""Adapters of the `peft` library: DoRA, OFT, LoKr, VeRA.

Paper:   Liu et al., ICML 2024, arXiv:2402.09353 (DoRA); Qiu et al., NeurIPS 2023, arXiv:2306.07280
         (OFT); Yeh et al., ICLR 2024, arXiv:2309.14859 (LoKr); Kopiczko et al., ICLR 2024,
         arXiv:2310.11454 (VeRA).
Adds:    what `peft` adds to the projections of attention that LoRA adapts, and outside attention to every
         ungrouped convolution and every linear layer in its place inside the blocks.
Step 0: output unchanged.     Buffers: BatchNorm statistics frozen.

A further adapter of `peft` joins with one entry in ADAPTERS. OFT stays on attention: on convolutions it
fails where the map is smaller than the kernel. Its blocks are 32 wide, as is `peft`'s default; in a network
with a projection whose inputs 32 does not divide, the largest width below that divides all of them.
BOFT is left out: without its CUDA extension `peft` silently replaces its butterfly by a single factor,
so that a result would depend on the machine's compiler.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from raypeft.methods.base import register_method
from raypeft.methods.peft_layers import (
    describe_config,
    insert_adapters,
    inserted_layers,
    merge_adapters,
    weight_sites,
)
from raypeft.models.families import Part
from raypeft.models.parts import Site, low_rank_projections

Sites = Callable[[nn.Module], Mapping[str, Site]]


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """A kind of adapter: where it goes, `peft`'s name of its configuration, what it adds per site."""

    paper: str
    needs: frozenset[Part]
    sites: Sites
    config: str  # class in `peft`
    rank: str  # `peft`'s name of the option that raypeft calls rank
    default: int | None  # rank; None: OFT's block, which depends on the sites
    count: Callable[[Site, int], int]
    settings: Mapping[str, Any] = field(default_factory=dict)
    decays: frozenset[str] = frozenset()  # bare parameters of it that are weights


def _fan(site: Site) -> tuple[int, int, int]:
    """Return inputs, outputs and kernel positions of a layer; weight (out, in, ...)."""
    weight = site.weight
    return weight.shape[1], weight.shape[0], weight[0, 0].numel()


def _count_dora(site: Site, rank: int) -> int:
    """Count A (rank, in * k), B (out, rank) and one magnitude per output."""
    fan_in, fan_out, kernel = _fan(site)
    return rank * (fan_in * kernel + fan_out) + fan_out


def _count_oft(site: Site, rank: int) -> int:
    """Count a skew-symmetric matrix per block of inputs."""
    fan_in, _, kernel = _fan(site)
    size = rank
    return fan_in * kernel // size * (size * (size - 1) // 2)


def _count_lokr(site: Site, rank: int) -> int:
    """Count C (a, c) and the low-rank or full (b, d * k) of W = C (x) D, for out = a b and in = c d."""
    fan_in, fan_out, kernel = _fan(site)
    (a, b), (c, d), r = _near_square(fan_out), _near_square(fan_in), rank
    return a * c + (r * (b + d * kernel) if r < max(b, d) / 2 else b * d * kernel)


def _count_vera(site: Site, rank: int) -> int:
    """Count d (rank) and b (out); the shared random A and B are not trained."""
    return rank + site.weight.shape[0]


def _near_square(number: int) -> tuple[int, int]:
    """Return the two factors of `number` that are nearest to each other, the smaller first."""
    small = next(m for m in range(math.isqrt(number), 0, -1) if number % m == 0)
    return small, number // small


def _block(sites: Collection[Site]) -> int:
    """Return OFT's default, the largest block that divides the inputs of all sites."""
    common = math.gcd(*(site.weight.shape[1] for site in sites))
    return max(size for size in range(1, OFT_BLOCK + 1) if common % size == 0)


OFT_BLOCK = 32  # `peft`'s default
ANY: frozenset[Part] = frozenset({"weights", "head"})
ATTENTION: frozenset[Part] = frozenset({"qkv", "head"})
LINEAR: frozenset[Part] = frozenset({"linear_qkv", "head"})  # `peft` has no VeRA for convolutions
ADAPTERS = {
    "dora": Adapter(
        paper="Liu et al., ICML 2024, equation 5",
        needs=ANY,
        sites=weight_sites,
        config="LoraConfig",
        rank="r",
        default=16,
        count=_count_dora,
        settings={"use_dora": True, "lora_alpha": 16},
    ),
    "oft": Adapter(
        paper="Qiu et al., NeurIPS 2023, section 3.2",
        needs=ATTENTION,
        sites=low_rank_projections,
        config="OFTConfig",
        rank="oft_block_size",
        default=None,
        count=_count_oft,
        decays=frozenset({"oft_R"}),
    ),
    "lokr": Adapter(
        paper="Yeh et al., ICLR 2024, section 3.2",
        needs=ANY,
        sites=weight_sites,
        config="LoKrConfig",
        rank="r",
        default=8,
        count=_count_lokr,
        settings={"alpha": 8},
        decays=frozenset({f"lokr_{part}" for part in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")}),
    ),
    "vera": Adapter(
        paper="Kopiczko et al., ICLR 2024, equation 2",
        needs=LINEAR,
        sites=low_rank_projections,
        config="VeraConfig",
        rank="r",
        default=256,
        count=_count_vera,
        settings={"save_projection": False, "projection_prng_key": 0},
    ),
}


def _register(name: str, adapter: Adapter) -> None:
    def settings(sites: Mapping[str, Site], rank: int | None) -> dict[str, Any]:
        chosen = rank or _block(sites.values())
        return {"target_modules": [*sites], adapter.rank: chosen, **adapter.settings}

    def count(model: nn.Module, *, rank: int | None = adapter.default) -> int:
        sites = adapter.sites(model).values()
        return sum(adapter.count(site, rank or _block(sites)) for site in sites)

    def insert(model: nn.Module, *, rank: int | None = adapter.default) -> None:
        insert_adapters(model, adapter.config, **settings(adapter.sites(model), rank))

    def describe(model: nn.Module, *, rank: int | None = adapter.default) -> dict[str, Any]:
        return describe_config(adapter.config, **settings(inserted_layers(model), rank))

    register_method(
        name,
        needs=adapter.needs,
        paper=adapter.paper,
        count=count,
        merge=merge_adapters,
        decays=adapter.decays,
        peft_config=describe,
    )(insert)


for _name, _adapter in ADAPTERS.items():
    _register(_name, _adapter)
