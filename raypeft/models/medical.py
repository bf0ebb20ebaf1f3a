"""Backbones trained on medical images, by the names of their papers.

Sources: each entry's facts are those of the model's public page and code, named beside it. Where no digest
stands, none was at hand when this was written: a plan records that of the file that it finds, every worker
compares it, and the trial ids hold it. A "gated" file is for accounts that accepted its licence.
"""

from __future__ import annotations

from typing import Any

from raypeft.models.catalogue import register_timm
from raypeft.models.families import VIT
from raypeft.models.hub import HubFile, UrlFile
from raypeft.models.preprocessing import CLIP, HALF, IMAGENET

CC_NC, CC_NC_ND = "CC BY-NC 4.0", "CC BY-NC-ND 4.0"
HEADLESS: dict[str, Any] = {"num_classes": 0}  # their heads, if any, are not those of fine-tuning
LAYER_SCALE: dict[str, Any] = {**HEADLESS, "init_values": 1e-5}
SWIGLU: dict[str, Any] = {**LAYER_SCALE, "mlp_layer": "SwiGLUPacked", "act_layer": "silu"}

# Normalised and resized as in util/datasets.py, network as in models_vit.py: github.com/rmaphoh/RETFound_MAE
register_timm(
    "retfound",
    "vit",
    "vit_large_patch16_224.retfound",
    arguments=HEADLESS,
    normalize=IMAGENET,
    trained_on="retina",
    source="904,170 colour fundus photographs, masked autoencoder; Zhou et al., Nature 2023",
    licence=CC_NC,
    access="gated",
    patch=16,
    origin=HubFile(repository="YukunZhou/RETFound_mae_natureCFP", names=("RETFound_mae_natureCFP.pth",)),
)
# Arguments, mean, std and resizing: the page of huggingface.co/MahmoodLab/UNI
register_timm(
    "uni",
    "vit",
    "vit_large_patch16_224.uni",
    arguments=LAYER_SCALE,
    normalize=IMAGENET,
    trained_on="pathology",
    source="100M patches of 100,000 H&E slides, DINOv2; Chen et al., Nature Medicine 2024",
    licence=CC_NC_ND,
    access="gated",
    patch=16,
    interpolation="bilinear",
    origin=HubFile(repository="MahmoodLab/UNI", names=("pytorch_model.bin",)),
)
# Arguments: timm_kwargs on the page of huggingface.co/MahmoodLab/UNI2-h
register_timm(
    "uni2_h",
    "vit",
    "vit_giant_patch14_224.uni2_h",
    arguments={
        **SWIGLU,
        "img_size": 224,
        "patch_size": 14,
        "depth": 24,
        "num_heads": 24,
        "embed_dim": 1536,
        "mlp_ratio": 2.66667 * 2,
        "no_embed_class": True,
        "reg_tokens": 8,
    },
    normalize=IMAGENET,
    trained_on="pathology",
    source="200M patches of 350,000 H&E and IHC slides, DINOv2; Chen et al., Nature Medicine 2024",
    licence=CC_NC_ND,
    access="gated",
    patch=14,
    interpolation="bilinear",
    origin=HubFile(repository="MahmoodLab/UNI2-h", names=("pytorch_model.bin",)),
)
# Arguments: model_args of config.json and the page of huggingface.co/paige-ai/Virchow2.
# Differs from the paper: the head reads the class token, not it and the mean patch token side by side.
register_timm(
    "virchow2",
    "vit",
    "vit_huge_patch14_224.virchow2",
    arguments={**SWIGLU, "mlp_ratio": 5.3375, "reg_tokens": 4, "global_pool": "token"},
    normalize=IMAGENET,
    trained_on="pathology",
    source="3.1M H&E and IHC slides at mixed magnifications, DINOv2; Zimmermann et al. 2024",
    licence=CC_NC_ND,
    access="gated",
    patch=14,
    origin=HubFile(repository="paige-ai/Virchow2"),
)
# In the names of transformers' Dinov2Model; mean and std of preprocessor_config.json
register_timm(
    "phikon_v2",
    "vit",
    "vit_large_patch16_224.phikon_v2",
    arguments=LAYER_SCALE,
    normalize=IMAGENET,
    trained_on="pathology",
    source="456M tiles of 58,000 public slides, DINOv2; Filiot et al. 2024",
    licence="Owkin non-commercial",
    patch=16,
    origin=HubFile(repository="owkin/phikon-v2"),
)
# In the names of transformers' Dinov2Model; mean, std and size of preprocessor_config.json
register_timm(
    "rad_dino",
    "vit",
    "vit_base_patch14_dinov2.rad_dino",
    normalize=((0.5307, 0.5307, 0.5307), (0.2583, 0.2583, 0.2583)),
    trained_on="chest X-ray",
    source="882,775 chest X-rays, DINOv2; Pérez-García et al., Nature Machine Intelligence 2025",
    licence="MSRLA, MIT in later revisions (research only, by its page)",
    patch=14,
    size=518,
    origin=HubFile(repository="microsoft/rad-dino"),
)
# The published weights of github.com/arnoweng/CheXNet, a reproduction; mean, std and size of its model.py
register_timm(
    "chexnet_densenet121",
    "conv",
    "densenet121.chexnet",
    arguments=HEADLESS,
    normalize=IMAGENET,
    trained_on="chest X-ray",
    source="ChestX-ray14, 14 labels; Rajpurkar et al. 2017, reproduced by arnoweng/CheXNet",
    licence="not named",
    interpolation="bilinear",
    origin=UrlFile(url="https://github.com/arnoweng/CheXNet/raw/master/model.pth.tar"),
)
# The PyTorch weights (Sequential names under "backbone."); (pixel - 127.5) * 2 / 255 as in
# acl/acl_pytorch_train.ipynb of github.com/BMEII-AI/RadImageNet
register_timm(
    "radimagenet_resnet50",
    "conv",
    "resnet50.radimagenet",
    arguments=HEADLESS,
    normalize=HALF,
    trained_on="radiology",
    source="RadImageNet, 1.35M CT, MRI and ultrasound images; Mei et al., Radiology: AI 2022; the file is "
    "that of the mirror Lab-Rasool/RadImageNet",
    licence="not named for the weights",
    interpolation="bilinear",
    origin=HubFile(repository="Lab-Rasool/RadImageNet", names=("ResNet50.pt",)),
)
# Mean and std of preprocess_cfg in open_clip_config.json; the image tower is timm's, under "visual.trunk."
register_timm(
    "biomedclip",
    "vit",
    "vit_base_patch16_224.biomedclip",
    arguments=HEADLESS,
    normalize=CLIP,
    trained_on="medical figures and text",
    source="15M figures and captions of PubMed Central, CLIP; Zhang et al., NEJM AI 2025",
    licence="MIT (research only, by its page)",
    patch=16,
    origin=HubFile(
        repository="microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
        names=("open_clip_pytorch_model.bin",),
    ),
)
# Only the image encoder: its tensors stand under "image_encoder."
# Differs from the paper: MedSAM_Inference.py of github.com/bowang-lab/MedSAM stretches an image to [0, 1] by
# its own lowest and highest value, here it is divided by 255; neither subtracts a mean.
# The md5 is the one that two public repositories name beside Zenodo's file.
register_timm(
    "medsam",
    "vit",
    "samvit_base_patch16.medsam",
    normalize=((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    trained_on="several modalities",
    source="1.57M image-mask pairs of ten modalities, SAM's encoder; Ma et al., Nature Communications 2024",
    licence="Apache-2.0",
    patch=16,
    takes_any=True,
    parts=VIT.parts - {"tokens"},  # its windows divide a plane
    size=1024,
    origin=UrlFile(
        url="https://zenodo.org/records/10689643/files/medsam_vit_b.pth",
        algorithm="md5",
        digest="3bb6db55bd0c9ca30b61248bca72f8d6",
    ),
)
