"""Every registered method through the conformance kit; and the kit against methods that are wrong."""

import json
from pathlib import Path

import pytest

from raypeft.core.plugins import forget_plugin, load_plugins
from raypeft.methods import METHODS, bind_method
from raypeft.models.families import UNET
from raypeft.train.conformance import CHECKS, check_methods
from raypeft.train.conformance_processes import LOADS, PARALLEL
from raypeft.train.subjects import NETWORKS, Subject, small_parts

pytestmark = pytest.mark.timeout(1800)  # the first test waits for the checks of all
ROOT = Path(__file__).parents[2]
DOCS, EXAMPLE = ROOT / "docs" / "adding.md", ROOT / "examples" / "own_method.py"
NOT_MERGED = {"adaptformer", "vpt"}
OPTIONS = (  # those that make another network or another start; defaults are checked by the plain names
    "bn(statistics='frozen')",
    "adaptformer(layernorm='none', dropout=0.1)",
    "adaptformer(layernorm='own')",
    "tsa(kernels='3x3', projection=True)",
    "ssf(init='paper')",
)


def checked(names):
    return {(found.method, found.network, found.check): found for found in check_methods(names)}


@pytest.fixture(scope="module")
def findings():
    """At once: each call of the kit starts three processes, which import torch."""
    return checked([name for name in METHODS if not name.startswith("broken_")] + [*OPTIONS])


def assert_passes(findings, method):
    networks = [name for name in NETWORKS if Subject(method=bind_method(method), backbone=name).fits]
    assert networks
    for network in networks:
        for check in (*CHECKS, LOADS, PARALLEL):
            found = findings[method, network, check]
            assert found.passed is not False, f"{network}, {check}: {found.detail}"


@pytest.mark.parametrize("method", [*METHODS, *OPTIONS])
def test_a_method_passes_every_check_on_every_network_that_it_fits(findings, method):
    assert_passes(findings, method)


def test_only_what_cannot_apply_is_left_out(findings):
    plain = [found for found in findings.values() if found.method not in OPTIONS]
    left_out = {(found.method, found.network, found.check) for found in plain if found.passed is None}
    no_head = {(m, "unet", "head trains") for m, entry in METHODS.items() if entry.needs <= UNET.parts}
    no_merge = {
        (m, network, "merge into plain weights")
        for m in NOT_MERGED
        for network in NETWORKS
        if METHODS[m].needs <= small_parts(network)
    }
    starts = {("vpt", "vit", check) for check in CHECKS if check.startswith(("output", "weight decay"))}
    assert left_out == no_head | no_merge | starts


BROKEN = """
import os
import torch
from torch import nn
from raypeft.methods.base import register_method

def count(model):
    return len(model.blocks) * model.embed_dim

def gates(model, initial=1.0):
    for block in model.blocks:
        block.gate = nn.Parameter(torch.full((model.embed_dim,), initial))
        yield block

def scale(module, inputs, output):
    return output * module.gate

def drop(module, inputs, output):
    return output

def noise(module, inputs, output):
    return output * module.gate + module.noise

def stop(module, inputs, output):
    return output.detach() * module.gate

def move(module, inputs, output):
    module.attn.qkv.weight.data += 1e-3
    return output * module.gate

def register(name, function, *, count=count, initial=1.0, merge=None, decays=()):
    def apply(model):
        for block in gates(model, initial):
            function(block)
    facts = {"needs": {"tokens"}, "paper": "none", "count": count, "merge": merge, "decays": decays}
    register_method("broken_" + name, **facts)(apply)

def hook(function):
    return lambda block: block.register_forward_hook(function)

def closure(block):
    block.register_forward_hook(lambda module, inputs, output: output * block.gate)

def secret(block):
    block.register_buffer("noise", torch.tensor(list(os.urandom(16))).float().mean(), persistent=False)
    block.register_forward_hook(noise)

def plain(model):
    pass

register("count", hook(scale), count=lambda model: 5)
register("output", hook(scale), initial=1.1)
register("unused", hook(drop))
register("moves", hook(move))
register("closure", closure)
register("secret", secret)
register("merge", hook(scale), merge=plain)
register("decays", hook(scale), decays={"gate"})
"""


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    path = tmp_path_factory.mktemp("methods") / "broken.py"
    path.write_text(BROKEN)
    (plugin,) = load_plugins([str(path)])
    names = [name for _, name in plugin.names]
    yield {(found.method, found.check): found for found in check_methods(names)}
    forget_plugin(plugin)


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("count", "count equals the formula"),
        ("output", "output unchanged at step 0"),
        ("unused", "trainable tensors move, frozen ones and BatchNorm statistics do not"),
        ("unused", PARALLEL),
        ("moves", "trainable tensors move, frozen ones and BatchNorm statistics do not"),
        ("closure", "deepcopy"),
        ("secret", LOADS),
        ("merge", "merge into plain weights"),
        ("decays", "weight decay pulls towards the plain network"),
    ],
)
def test_a_broken_method_fails_the_check_that_is_meant_for_it(broken, fault, check):
    assert broken[f"broken_{fault}", check].passed is False


def test_the_example_passes_from_the_command_line(cli):
    code, output, _ = cli("methods", "check", EXAMPLE, "--json")
    assert code == 0
    found = json.loads(output)
    assert {row["method"] for row in found} == {"gate"}
    assert all(row["passed"] for row in found)


def test_the_documentation_shows_the_example():
    code = EXAMPLE.read_text().partition('"""\n\nimport')[2]
    assert code in DOCS.read_text()
