"""Merged weights: loaded by timm alone to the logits of the adapter, or refused with the reason."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from raypeft.core.errors import ConfigError, IncompatibleError
from raypeft.core.recipe import Recipe
from raypeft.core.spec import Cell, TrialSpec
from raypeft.methods import METHODS, bind_method
from raypeft.models import bind_model, build_model, weights_digest
from raypeft.train import load_adapter, save_adapter
from raypeft.train.merged import copy_adapter, write_merged
from raypeft.train.predict import load_model

CLASSES = ("benign", "malignant", "normal")
PAIRS = [
    (name, model)
    for name, method in METHODS.items()
    for model in ("efficientnet_lite0", "vit_nano")
    if method.needs <= bind_model(model).parts
]


def trained(method: str, model: str, folder, *, fit: str = "stretch"):
    """An adapter with every trained parameter away from where it starts, and its network."""
    torch.manual_seed(0)
    bound, backbone = bind_method(method), bind_model(model)
    network = build_model(backbone, num_classes=len(CLASSES))
    bound.apply(network)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn(parameter.shape))
    spec = TrialSpec(
        cell=Cell(method=method, model=model, dataset="digits"),
        stage="final",
        seed=0,
        lr=1e-3,
        recipe=Recipe(image_size=32, fit=fit),
        preprocessing=backbone.preprocessing,
        split="grouped",
        split_seed=0,
        weights_digest=weights_digest(backbone),
        data_digest="d",
    )
    save_adapter(folder, network, spec=spec, method=bound, backbone=backbone, classes=CLASSES)
    return folder, network.eval()


@pytest.mark.parametrize(("method", "model"), PAIRS)
def test_merged_weights_load_with_timm_alone_to_the_adapter_s_logits_or_are_refused(tmp_path, method, model):
    adapter, network = trained(method, model, tmp_path / "adapter")
    folder = tmp_path / "merged"
    if METHODS[method].merge is None:
        with pytest.raises(IncompatibleError, match="keep the adapter"):
            write_merged(adapter, folder)
        assert not folder.exists()
        return
    try:
        write_merged(adapter, folder)
    except IncompatibleError:
        if method != "tsa":  # whose padding depends on the image's size
            raise
        return
    plain = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(plain(images), network(images), rtol=1e-5, atol=2e-5)
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model=plain))
    assert tuple(transform.transforms[-1].mean.tolist()) == pytest.approx(bind_model(model).mean)
    assert plain.pretrained_cfg["label_names"] == list(CLASSES)


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
def test_timm_prepares_images_as_training_did_or_a_warning_says_that_it_does_not(tmp_path, caplog, fit):
    adapter, _ = trained("linear", "efficientnet_lite0", tmp_path / "adapter", fit=fit)
    write_merged(adapter, tmp_path / "merged")
    plain = timm.create_model(f"local-dir:{tmp_path / 'merged'}", pretrained=True)
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model=plain))
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 71, 3), dtype=np.uint8))
    found, wanted = transform(image), load_model(adapter, device="cpu").transform(image)
    if fit == "pad":
        assert "pads with the mean colour" in caplog.text
        rows = slice(5, 27)  # 71 x 50 at 32: 22.5 rows, rounded to 22, below five of the border
        torch.testing.assert_close(found[:, rows], wanted[:, rows], rtol=0, atol=1e-5)
        assert not torch.allclose(found[:, 0], wanted[:, 0], atol=0.1)
    else:
        assert not caplog.text
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_a_copied_adapter_loads_and_nothing_is_replaced(tmp_path):
    adapter, network = trained("lora", "vit_nano", tmp_path / "adapter")
    copy_adapter(adapter, tmp_path / "copy")
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(load_adapter(tmp_path / "copy")[0](images), network(images))
    for write in (copy_adapter, write_merged):
        with pytest.raises(ConfigError, match="exists"):
            write(adapter, tmp_path / "copy")
