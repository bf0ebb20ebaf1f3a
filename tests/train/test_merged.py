"""Merged weights: loaded by timm alone to the logits of the adapter, or refused with the reason."""

import pytest
import timm
import torch

from raypeft.core.errors import ConfigError, IncompatibleError
from raypeft.core.recipe import Recipe
from raypeft.core.spec import Cell, TrialSpec
from raypeft.methods import METHODS, bind_method
from raypeft.models import bind_model, build_model, weights_digest
from raypeft.train import load_adapter, save_adapter
from raypeft.train.merged import copy_adapter, write_merged

CLASSES = ("benign", "malignant", "normal")
PAIRS = [
    (name, model)
    for name, method in METHODS.items()
    for model in ("efficientnet_lite0", "vit_nano")
    if method.needs <= bind_model(model).parts
]


def trained(method: str, model: str, folder):
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
        recipe=Recipe(image_size=32),
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


def test_a_copied_adapter_loads_and_nothing_is_replaced(tmp_path):
    adapter, network = trained("lora", "vit_nano", tmp_path / "adapter")
    copy_adapter(adapter, tmp_path / "copy")
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(load_adapter(tmp_path / "copy")[0](images), network(images))
    for write in (copy_adapter, write_merged):
        with pytest.raises(ConfigError, match="exists"):
            write(adapter, tmp_path / "copy")
