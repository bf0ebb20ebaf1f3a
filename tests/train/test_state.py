"""How a trial computes on this device."""

import pytest
import timm
import torch
from timm.models import VisionTransformer
from torch import nn
from torch._dynamo.utils import counters
from torch._inductor.config import cpp
from torch.utils._python_dispatch import TorchDispatchMode

from raypeft.models.families import CONV, VIT
from raypeft.train.state import compile_blocks, prepare_network

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Operations(TorchDispatchMode):
    """The names of the operations that run."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.name())
        return func(*args, **(kwargs or {}))


def network(precision: str, device: torch.device) -> nn.Module:
    torch.manual_seed(0)
    vit = VisionTransformer(img_size=32, patch_size=8, embed_dim=64, depth=2, num_heads=2, num_classes=3)
    prepare_network(vit, VIT, precision=precision, device=device)
    return vit.eval()


@pytest.mark.parametrize(
    ("precision", "device", "fused"), [("bf16", CPU, False), ("fp32", CPU, True), ("bf16", GPU, True)]
)
def test_attention_is_explicit_in_bf16_on_a_cpu_alone(precision, device, fused):
    with Operations() as operations, torch.no_grad():
        network(precision, device)(torch.randn(2, 3, 32, 32))
    assert any("flash_attention" in name for name in operations.names) is fused


def test_both_forms_of_attention_give_the_same_up_to_the_rounding_of_bf16():
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    exact = network("fp32", CPU)(images)
    with torch.autocast("cpu", torch.bfloat16):
        explicit = network("bf16", CPU)(images).float()
    torch.testing.assert_close(explicit, exact, rtol=0, atol=0.02 * exact.abs().max().item())


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # dynamo reads it
def test_blocks_of_one_kind_are_compiled_once_and_give_what_they_gave():
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    plain, first, second, other = (network("fp32", CPU) for _ in range(4))
    counters.clear()
    compile_blocks(first, VIT, kind="full on vit")
    torch.testing.assert_close(first(images), plain(images))
    graphs = counters["stats"]["unique_graphs"]
    assert graphs >= 1
    compile_blocks(second, VIT, kind="full on vit")
    second(images)
    assert counters["stats"]["unique_graphs"] == graphs
    compile_blocks(other, VIT, kind="lora on vit")
    other(images)
    assert counters["stats"]["unique_graphs"] == 2 * graphs
    assert first.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_blocks_that_cannot_be_compiled_run_as_they_are(monkeypatch):
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    plain, compiled = network("fp32", CPU), network("fp32", CPU)
    monkeypatch.setattr(cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(torch._inductor.config, "force_disable_caches", True)
    compile_blocks(compiled, VIT, kind="without a compiler")
    torch.testing.assert_close(compiled(images), plain(images), rtol=0, atol=0)


def test_networks_without_a_row_of_blocks_are_left_alone():
    convolutional = timm.create_model("resnet18", num_classes=3)
    compile_blocks(convolutional, CONV, kind="full on resnet18")
    assert not any(module._compiled_call_impl for module in convolutional.modules())
