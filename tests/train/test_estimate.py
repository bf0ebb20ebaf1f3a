"""Counted costs agree with published operation counts and with what training keeps in memory."""

import pytest
import torch
from torch import nn

from raypeft.methods import bind_method
from raypeft.models import bind_model
from raypeft.train.estimate import step_cost


@pytest.mark.parametrize(
    ("model", "giga_macs"),
    [("resnet50", 4.1), ("vit_base", 17.6), ("vit_large", 61.6)],  # timm's results/benchmark tables, 224 px
)
def test_a_forward_pass_has_the_published_number_of_multiplications(model, giga_macs):
    cost = step_cost(model, "linear", num_classes=1000, image_size=None)
    assert cost.predict_flops / 2e9 == pytest.approx(giga_macs, rel=0.02)


def test_full_tuning_takes_three_passes_frozen_weights_two_and_a_frozen_network_one():
    ratios = {
        method: (cost := step_cost("vit_base", method, num_classes=3, image_size=None)).train_flops
        / cost.predict_flops
        for method in ("full", "bitfit", "linear")
    }
    assert ratios == {
        # Attention is 4.1% of a pass and has no weights: three passes of it under bitfit too, and half a
        # one more in both for the scores, which flash attention computes again.
        "full": pytest.approx(3.02, abs=0.02),
        "bitfit": pytest.approx(2.06, abs=0.02),
        "linear": pytest.approx(1, abs=0.001),
    }


def test_states_are_weights_and_three_numbers_per_trainable_one():
    full = step_cost("vit_base", "full", num_classes=3, image_size=None)
    assert full.state_bytes == 4 * 85_800_963 * 4  # the count of paper/trainable_counts.csv
    linear = step_cost("vit_base", "linear", num_classes=3, image_size=None)
    assert linear.state_bytes == 4 * (85_800_963 + 3 * 2_307)


@pytest.mark.parametrize("method", ["full", "linear", "lora", "ssf"])
def test_activations_are_those_that_a_real_pass_keeps(method):
    network = bind_model("vit_nano").make()
    network.reset_classifier(10)
    bind_method(method).apply(network)
    network.train()
    kept: dict[int, torch.UntypedStorage] = {}
    own = {p.untyped_storage().data_ptr() for p in [*network.parameters(), *network.buffers()]}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        nn.functional.cross_entropy(network(torch.randn(8, 3, 32, 32)), torch.zeros(8, dtype=torch.long))
    real = sum(storage.nbytes() for storage in kept.values()) / 8
    counted = step_cost("vit_nano", method, num_classes=10, image_size=None).activation_bytes
    assert counted == pytest.approx(real, rel=0.1)


def test_ssf_keeps_less_than_full_tuning():
    """A ViT's block keeps 16 maps of its width: LayerNorms 2 + 2, qkv 3, attention 1, MLP 4 + 4.

    SSF keeps no inputs of linear layers (LayerNorms' 2, GELU's 4) but two results (after attention, MLP).
    """
    kept = [
        step_cost("vit_base", method, num_classes=3, image_size=None).activation_bytes
        for method in ("ssf", "full")
    ]
    assert kept[0] / kept[1] == pytest.approx(12 / 16, abs=0.02)
