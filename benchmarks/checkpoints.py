#!/usr/bin/env python
"""Do checkpoints as they are released go from the plan to the report?

Run:      python benchmarks/checkpoints.py --out runs/checkpoints
Cost:     ten minutes of two cores and 1 GiB of disk; no download: the values are random.
Written:  OUT/checkpoints, the twins; OUT/sweep.py; OUT/store with its report. Printed: what the plan says of
          each file, the committed rows by model and status, seconds of each command.

Each twin has the nesting and names of a released file (the code it follows is named in
tests/models/test_checkpoints.py): RETFound, RAD-DINO and BiomedCLIP with ViT-S in place of ViT-L and ViT-B,
CheXNet and RadImageNet at full size, and a network of somebody's own classes as DistributedDataParallel saves
it. 45 images in three classes, 112 px. Methods that a network has no parts for are left out.
"""

import argparse
import collections
import json
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

State = dict[str, torch.Tensor]
CLASSES, PER_CLASS, SIDE = ("dark", "light", "striped"), 15, 72

SWEEP = """
import raypeft as rp

MODELS = {models!r}
SWEEP = rp.Sweep(
    name="checkpoints",
    cells=rp.grid(method=("linear", "bias", "lora"), model=MODELS, dataset=("folder:{images}",)),
    search=rp.Search(trials=1),
    recipe=rp.Recipe(epochs=2, batch_size=16, micro_batch_size=16, image_size=112),
    final_seeds=(0,),
)
"""


def under(prefix: str, state: State) -> State:
    """Return the tensors with `prefix` before their names."""
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def retfound() -> object:
    """Return RETFound's encoder, the MAE's decoder and the options of its training, under "model"."""
    encoder = timm.create_model("vit_small_patch16_224", num_classes=0).state_dict()
    decoder = timm.create_model("vit_tiny_patch16_224", embed_dim=512, num_heads=16, depth=2)
    others = {"mask_token": torch.zeros(1, 1, 512), "decoder_pos_embed": torch.zeros(1, 197, 512)}
    blocks = {name: one for name, one in decoder.state_dict().items() if name.startswith("blocks.")}
    state = encoder | under("decoder_", blocks) | others
    return {"model": state, "epoch": 799, "args": Namespace(output_dir=Path("out"), lr=1e-3)}


def rad_dino() -> State:
    """Return a Dinov2 in the names of Hugging Face."""
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=518, patch_size=14, mlp_ratio=4)
    return dict(Dinov2Model(config).state_dict())


def biomedclip() -> State:
    """Return an image tower that is timm's ViT, beside a text tower."""
    trunk = timm.create_model("vit_small_patch16_224", num_classes=0).state_dict()
    text = {"text.transformer.embeddings.word_embeddings.weight": torch.zeros(1000, 384)}
    return under("visual.trunk.", trunk) | {"visual.head.proj.weight": torch.zeros(512, 384)} | text


def chexnet() -> object:
    """Return a DenseNet-121 in the names of 2017, its 14 findings, and DataParallel's prefix."""
    state = torchvision.models.densenet121(num_classes=14).state_dict()
    old = {
        name.replace("classifier.", "classifier.0.")
        .replace("norm1", "norm.1")
        .replace("norm2", "norm.2")
        .replace("conv1", "conv.1")
        .replace("conv2", "conv.2"): tensor
        for name, tensor in state.items()
        if "num_batches_tracked" not in name
    }
    return {"epoch": 4, "state_dict": under("module.densenet121.", old)}


def radimagenet() -> State:
    """Return the children of a ResNet-50 in one Sequential."""
    network = torchvision.models.resnet50()
    return under("backbone.", torch.nn.Sequential(*list(network.children())[:-1]).state_dict())


def own_classes() -> object:
    """Return a ResNet-18 of seven classes as DistributedDataParallel gives it."""
    state = torchvision.models.resnet18(num_classes=7).state_dict()
    return {"model_state_dict": under("module.", state), "epoch": 3}


TWINS: dict[str, tuple[Callable[[], object], str, str]] = {  # file, network, preprocessing
    "RETFound_cfp_weights.pth": (retfound, "timm:vit_small_patch16_224.augreg_in21k", "imagenet"),
    "rad-dino.safetensors": (rad_dino, "timm:vit_small_patch14_dinov2", "imagenet"),
    "open_clip_pytorch_model.bin": (biomedclip, "timm:vit_small_patch16_224", "clip"),
    "m-25012018-123527.pth.tar": (chexnet, "timm:densenet121", "imagenet"),
    "ResNet50.pt": (radimagenet, "resnet50", "half"),
    "own.pth": (own_classes, "resnet18", "imagenet"),
}


def write_images(folder: Path) -> None:
    """Write images that their classes tell apart: grey of two levels, and stripes."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for image in range(PER_CLASS):
            pixels = rng.normal((60, 180, 120)[number], 25, (SIDE, SIDE)).clip(0, 255)
            if name == "striped":
                pixels[:: 3 + image % 3] = 240
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{image:02}.png")


def main() -> None:
    """Write the twins and run the commands as a user does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=lambda text: Path(text).resolve(), required=True)
    out: Path = parser.parse_args().out
    files, images, store = out / "checkpoints", out / "images", out / "store"
    files.mkdir(parents=True, exist_ok=True)
    write_images(images)
    models = []
    for name, (twin, network, normalize) in TWINS.items():
        path = files / name
        if not path.exists():
            torch.manual_seed(0)
            content = twin()
            save_file(content, path) if path.suffix == ".safetensors" else torch.save(content, path)  # type: ignore[arg-type]
        models.append(f"{network}(weights='{path}', normalize='{normalize}')")
    sweep = out / "sweep.py"
    sweep.write_text(SWEEP.format(models=tuple(models), images=images))
    for command in (
        ["plan", str(sweep), "--store", str(store)],
        ["run", str(sweep), "--store", str(store)],
        ["report", str(store)],
    ):
        start = time.monotonic()
        code = subprocess.run([sys.executable, "-m", "raypeft", *command], check=False).returncode
        print(f"\n{command[0]}: exit {code} after {time.monotonic() - start:.0f} s\n", flush=True)
        if code:
            sys.exit(code)
    rows = [json.loads(path.read_text()) for path in (store / "ledger").glob("*.json")]
    counts = collections.Counter((row["model"], row["status"]) for row in rows)
    for (model, status), number in sorted(counts.items()):
        print(f"{number:3} {status}  {model}")


if __name__ == "__main__":
    main()
