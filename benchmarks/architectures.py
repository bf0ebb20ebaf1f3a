#!/usr/bin/env python
"""Do methods conform on networks of other classes than those that the tests use?

Run:      python benchmarks/architectures.py
Cost:     half an hour of two cores; no weights: small versions of timm's networks, drawn at random. Resumes.
Written:  benchmarks/architectures_2026-11/results.csv, a row for each check of a method on a network.

One network of each class, as small as its constructor allows, goes through the conformance kit (`raypeft
methods check METHOD --model timm:ID`) with those of METHODS that it takes.
"""

import csv
from pathlib import Path

from raypeft.methods import bind_method
from raypeft.train.conformance import check_methods
from raypeft.train.subjects import Subject

OUT = Path(__file__).with_name("architectures_2026-11")
COLUMNS = ("network", "method", "check", "passed", "detail")
METHODS = ("full", "linear", "ssf", "lora", "adaptformer", "dora", "ia3")
NETWORKS = (
    "vit_small_patch14_reg4_dinov2",
    "vit_small_patch16_dinov3",
    "eva02_tiny_patch14_224",
    "beit_base_patch16_224",
    "vit_base_patch16_siglip_224",
    "samvit_base_patch16_224",
    "vit_relpos_small_patch16_224",
    "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256",
    "hiera_tiny_224",
    "pvt_v2_b0",
    "twins_svt_small",
    "coatnet_nano_rw_224",
    "mobilevit_xxs",
    "edgenext_xx_small",
    "convnext_atto",
    "convnextv2_atto",
    "regnetx_002",
    "resnetv2_50",
    "nfnet_l0",
    "densenet121",
    "vgg11_bn",
    "hrnet_w18_small",
    "mobilenetv3_small_050",
    "repvgg_a0",
    "deit_tiny_distilled_patch16_224",
)


def main() -> None:
    """Write the checks of each network that has none yet, and print what failed."""
    OUT.mkdir(exist_ok=True)
    path = OUT / "results.csv"
    rows = list(csv.DictReader(path.open())) if path.exists() else []
    known = {row["network"] for row in rows}
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not rows:
            writer.writeheader()
        for network in NETWORKS:
            if network in known:
                continue
            found = _checked(network)
            writer.writerows(found)
            file.flush()
            rows += found
    failed = [row for row in rows if row["passed"] == "False"]
    print(
        f"{len(rows) - len(failed)} of {len(rows)} checks on {len(NETWORKS)} networks passed or do not apply"
    )
    for row in failed:
        print(f"  {row['network']}, {row['method']}, {row['check']}: {row['detail']}")


def _checked(network: str) -> list[dict[str, str]]:
    backbone = f"timm:{network}"
    fitting = [name for name in METHODS if Subject(method=bind_method(name), backbone=backbone).fits]
    return [
        {
            "network": network,
            "method": one.method,
            "check": one.check,
            "passed": str(one.passed),
            "detail": one.detail,
        }
        for one in check_methods(fitting, [backbone])
    ]


if __name__ == "__main__":
    main()
