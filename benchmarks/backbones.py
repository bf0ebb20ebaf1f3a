#!/usr/bin/env python
"""On which of timm's networks does every method train whose parts the network has?

Run:      python benchmarks/backbones.py
Cost:     about an hour of one core; no weights: networks are made on the meta device. Resumes.
Written:  benchmarks/backbones_2026-11/results.csv, one row per id: its family, its parts, the methods that
          run, and those that do not, with the reason.

The ids are the list below, each an architecture that people fine-tune, and the first id of every architecture
whose weights come without a head and are DINO's, DINOv2's, DINOv3's, SigLIP's, SAM's, I-JEPA's or of a masked
autoencoder. A method runs if, as in a trial's step, its network goes forward and backward at the
network's own size, every trainable tensor gets a gradient, and its formula gives the number of parameters.
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from raypeft.core.errors import RaypeftError
from raypeft.methods import METHODS
from raypeft.models import bind_model
from raypeft.train.rehearsal import rehearse

OUT = Path(__file__).with_name("backbones_2026-11")
COLUMNS = ("id", "family", "parts", "runs", "fails", "refused")
HEADLESS = re.compile(r"siglip|dinov[23]|\.dino$|samvit|ijepa|\.(fc)?mae$")
IDS = [
    "vit_tiny_patch16_224.augreg_in21k",
    "vit_base_patch16_224.mae",
    "deit_base_distilled_patch16_224.fb_in1k",
    "deit3_small_patch16_224.fb_in22k_ft_in1k",
    "beit_base_patch16_224.in22k_ft_in22k",
    "beitv2_base_patch16_224.in1k_ft_in22k",
    "vit_small_patch14_dinov2.lvd142m",
    "vit_small_patch14_reg4_dinov2.lvd142m",
    "vit_giant_patch14_dinov2.lvd142m",
    "vit_small_patch16_dinov3.lvd1689m",
    "vit_7b_patch16_dinov3.lvd1689m",
    "convnext_tiny.dinov3_lvd1689m",
    "eva02_tiny_patch14_224.mim_in22k",
    "eva02_base_patch14_448.mim_in22k_ft_in22k_in1k",
    "eva_giant_patch14_224.clip_ft_in1k",
    "vit_base_patch16_siglip_224.webli",
    "vit_base_patch16_siglip_gap_224.webli",
    "vit_base_patch16_clip_224.openai",
    "vit_base_mci_224.apple_mclip",
    "resnet50_clip.openai",
    "samvit_base_patch16.sa1b",
    "vit_base_r50_s16_224.orig_in21k",
    "vit_relpos_base_patch16_224.sw_in1k",
    "vit_small_patch16_18x2_224",
    "flexivit_base.1200ep_in1k",
    "swin_tiny_patch4_window7_224.ms_in22k",
    "swinv2_tiny_window8_256.ms_in1k",
    "swinv2_cr_tiny_ns_224.sw_in1k",
    "convnext_tiny.fb_in22k",
    "convnextv2_tiny.fcmae",
    "convnextv2_nano.fcmae_ft_in22k_in1k",
    "maxvit_tiny_tf_224.in1k",
    "coatnet_0_rw_224.sw_in1k",
    "efficientnet_b0.ra_in1k",
    "tf_efficientnetv2_s.in21k",
    "densenet121.tv_in1k",
    "resnet18.a1_in1k",
    "resnet50.tv_in1k",
    "resnext50_32x4d.a1h_in1k",
    "resnetv2_50x1_bit.goog_in21k",
    "resnetv2_50.a1h_in1k",
    "seresnet50.ra2_in1k",
    "regnety_016.tv2_in1k",
    "nfnet_l0.ra2_in1k",
    "mobilenetv2_100.ra_in1k",
    "mobilenetv3_large_100.ra_in1k",
    "mobilenetv4_conv_small.e2400_r224_in1k",
    "mobilenetv4_hybrid_medium.e500_r224_in1k",
    "hrnet_w18.ms_aug_in1k",
    "inception_v3.tv_in1k",
    "inception_v4.tf_in1k",
    "inception_resnet_v2.tf_in1k",
    "xception41.tf_in1k",
    "legacy_xception.tf_in1k",
    "vgg16_bn.tv_in1k",
    "vgg16.tv_in1k",
    "mixer_b16_224.goog_in21k",
    "gmixer_24_224.ra3_in1k",
    "resmlp_24_224.fb_in1k",
    "fastvit_t8.apple_in1k",
    "fastvit_sa12.apple_in1k",
    "hiera_tiny_224.mae_in1k_ft_in1k",
    "pvt_v2_b0.in1k",
    "mobilevit_s.cvnets_in1k",
    "mobilevitv2_100.cvnets_in1k",
    "tiny_vit_5m_224.dist_in22k",
    "efficientformer_l1.snap_dist_in1k",
    "efficientformerv2_s0.snap_dist_in1k",
    "davit_tiny.msft_in1k",
    "xcit_nano_12_p16_224.fb_in1k",
    "cait_s24_224.fb_dist_in1k",
    "crossvit_tiny_240.in1k",
    "levit_128s.fb_dist_in1k",
    "twins_pcpvt_small.in1k",
    "twins_svt_small.in1k",
    "convit_tiny.fb_in1k",
    "coat_tiny.in1k",
    "edgenext_small.usi_in1k",
    "focalnet_tiny_srf.ms_in1k",
    "poolformer_s12.sail_in1k",
    "convformer_s18.sail_in22k",
    "caformer_s18.sail_in22k",
    "nest_tiny_jx.goog_in1k",
    "mvitv2_tiny.fb_in1k",
    "volo_d1_224.sail_in1k",
    "efficientvit_b0.r224_in1k",
    "efficientvit_m0.r224_in1k",
    "repvgg_a0.rvgg_in1k",
    "repvit_m0_9.dist_300e_in1k",
    "inception_next_tiny.sail_in1k",
    "ghostnet_100.in1k",
    "hgnetv2_b0.ssld_stage1_in22k_in1k",
    "botnet26t_256.c1_in1k",
    "halonet26t.a1h_in1k",
    "lambda_resnet26t.c1_in1k",
    "vit_so400m_patch14_siglip_224.webli",
    "gcvit_tiny.in1k",
    "nextvit_small.bd_in1k",
    "visformer_small.in1k",
    "pit_s_224.in1k",
    "vitamin_small_224.datacomp1b_clip",
    "dm_nfnet_f0.dm_in1k",
    "res2net50_26w_4s.in1k",
    "resnest50d.in1k",
    "skresnet34.ra_in1k",
    "dpn68b.ra_in1k",
    "selecsls60.in1k",
    "vovnet39a",
    "tresnet_m.miil_in21k",
    "rexnet_100.nav_in1k",
    "cspdarknet53.ra_in1k",
    "eca_nfnet_l0.ra2_in1k",
    "nasnetalarge.tf_in1k",
    "pnasnet5large.tf_in1k",
    "sequencer2d_s.in1k",
    "starnet_s1.in1k",
    "mambaout_tiny.in1k",
    "rdnet_tiny.nv_in1k",
    "swiftformer_s.dist_in1k",
    "shvit_s1.in1k",
    "fasternet_t0.in1k",
    "naflexvit_base_patch16_gap.e300_s576_in1k",
    "vit_huge_patch14_gap_224.in22k_ijepa",
    "vit_base_patch16_rope_reg1_gap_256.sbb_in1k",
    "vit_base_patch16_224_miil.in21k",
    "vit_small_r26_s32_224.augreg_in21k",
    "vit_base_patch16_224.dino",
    "vit_base_patch16_siglip_224.v2_webli",
    "hiera_tiny_224.mae",
    "bat_resnext26ts.ch_in1k",
    "gernet_s.idstcv_in1k",
    "xcit_small_12_p8_224.fb_in1k",
]


def headless() -> Iterator[str]:
    """Yield one id per architecture with weights that come without a head."""
    import timm

    seen = set()
    for name in timm.list_pretrained():
        cfg = timm.get_pretrained_cfg(name)
        architecture = name.partition(".")[0]
        if cfg and cfg.num_classes == 0 and HEADLESS.search(name) and architecture not in seen:
            seen.add(architecture)
            yield name


def row_of(name: str) -> dict[str, str]:
    """Try every method on one network."""
    row = dict.fromkeys(COLUMNS, "") | {"id": name}
    try:
        model = bind_model(f"timm:{name}")
    except RaypeftError as error:
        return row | {"refused": str(error)}
    runs, fails = [], []
    for method, entry in METHODS.items():
        if not entry.needs <= model.parts:
            continue
        try:
            rehearse(f"timm:{name}", method, num_classes=7, image_size=model.input_size)
            runs.append(method)
        except RaypeftError as error:
            fails.append(f"{method}: {error}")
    return row | {
        "family": model.family,
        "parts": " ".join(sorted(model.parts)),
        "runs": " ".join(runs),
        "fails": " | ".join(fails),
    }


def main() -> None:
    """Write a row per id that has none yet, and print how many networks every fitting method trains on."""
    OUT.mkdir(exist_ok=True)
    path = OUT / "results.csv"
    rows = list(csv.DictReader(path.open())) if path.exists() else []
    known = {row["id"] for row in rows}
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not rows:
            writer.writeheader()
        for name in dict.fromkeys([*IDS, *headless()]):
            if name not in known:
                rows.append(row_of(name))
                writer.writerow(rows[-1])
                file.flush()
    complete = sum(not row["fails"] and not row["refused"] for row in rows)
    print(f"{complete} of {len(rows)} networks: every method runs whose parts the network has")
    for row in rows:
        if row["fails"] or row["refused"]:
            print(f"  {row['id']}: {row['fails'] or row['refused']}")


if __name__ == "__main__":
    main()
