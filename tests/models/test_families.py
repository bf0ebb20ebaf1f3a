"""Families: a model is of the one that its network fits, and what is special about that holds."""

from dataclasses import replace

import pytest
import torch

from raypeft.core.errors import UnknownNameError
from raypeft.models import MODELS, bind_model
from raypeft.models.families import FAMILIES
from raypeft.models.kinds import family_of, parts_of


@pytest.mark.parametrize("name", [*MODELS])
def test_a_network_is_of_the_family_that_its_model_names_and_has_the_parts_that_it_promises(name):
    model = bind_model(name)
    with torch.device("meta"):
        network = model.make()
        model.kind.reset_head(network, 3)
    assert family_of(network) is model.kind
    assert model.family == "unet" or parts_of(network) == model.parts
    if name != "chexnet_densenet121":  # whose blocks lie deeper
        assert any(hasattr(network, blocks) for blocks in model.kind.blocks)


OWN_SMALL = [family for family in FAMILIES.values() if family.name != "hierarchical"]


@pytest.mark.parametrize("family", OWN_SMALL, ids=lambda family: family.name)
def test_the_small_backbone_of_a_family_is_installed_and_takes_its_inputs(family):
    model = bind_model(family.small)
    assert model.family == family.name
    assert model.weights().exists()
    network = model.make().eval()
    family.reset_head(network, 3)
    inputs = family.inputs(network, 2, model.input_size, 1.0, torch.randn)
    with torch.no_grad():
        output = family.forward(network, inputs)
    wanted = {"classify": (2, 3), "generate": tuple(inputs[0].shape)}  # logits; the noise in the latents
    assert tuple(output.shape) == wanted[family.task]


@pytest.mark.parametrize("family", OWN_SMALL, ids=lambda family: family.name)
def test_recomputed_activations_are_not_kept(family):
    network = bind_model(family.small).make().train()
    kept: dict[bool, int] = {}
    for recomputes in (False, True):
        if recomputes:
            family.recompute(network)
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, sizes=sizes: sizes.append(tensor.numel()) or tensor, lambda tensor: tensor
        ):
            family.forward(network, family.inputs(network, 2, 32, 1.0, torch.randn)).float().square().mean()
        kept[recomputes] = sum(sizes)
    assert kept[True] < kept[False] / 2


def test_a_family_that_there_is_not_is_told_with_those_that_there_are():
    with pytest.raises(
        UnknownNameError, match="no family 'mlp' of models; known: conv, vit, hierarchical, unet"
    ):
        replace(MODELS["vit_nano"], family="mlp")


def test_the_weights_of_a_plug_in_may_be_named_by_a_str(tmp_path):
    model = replace(MODELS["vit_nano"], weights=lambda: str(tmp_path / "own.safetensors"))
    assert model.weights() == tmp_path / "own.safetensors"
