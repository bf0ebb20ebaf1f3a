"""The shipped toy pipeline, read as a user would read any pipeline of diffusers."""

import hashlib
import socket
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from tokenizers.pre_tokenizers import ByteLevel

from raypeft.methods import METHODS, bind_method
from raypeft.models.vit import make_vit_nano

REPOSITORY = Path(__file__).parents[2]
WEIGHTS = REPOSITORY / "raypeft" / "models" / "weights"
FOLDER = WEIGHTS / "sd_nano"
CLASSES = ("t-shirt", "pair of trousers", "pullover", "dress", "coat")
CLASSES += ("sandal", "shirt", "sneaker", "bag", "ankle boot")
TUNED = ("full", "attention", "bias", "norm", "bias_norm_attention", "lora", "svdiff", "difffit")


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> StableDiffusionPipeline:
    def refuse(*_: object) -> None:
        raise AssertionError("loading a folder asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    loaded = StableDiffusionPipeline.from_pretrained(FOLDER, safety_checker=None)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def test_folder_is_small_and_its_weights_are_the_ones_on_the_model_card() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 10_000_000
    weights = [path for path in files if path.suffix == ".safetensors"]
    card = (REPOSITORY / "docs" / "sd_nano.md").read_text()
    assert len(weights) == 3
    for path in weights:
        assert hashlib.sha256(path.read_bytes()).hexdigest() in card, path


def test_everything_loads_in_float32_with_the_noise_of_stable_diffusion(
    pipeline: StableDiffusionPipeline,
) -> None:
    assert isinstance(pipeline.scheduler, DDIMScheduler)
    # Products of 1 - beta, beta from 0.00085 to 0.012, equidistant in the root (Rombach et al. 2022).
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    torch.testing.assert_close(
        pipeline.scheduler.alphas_cumprod.double(), (1 - betas).cumprod(0), rtol=1e-5, atol=0
    )
    for network in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_any_text_has_tokens(pipeline: StableDiffusionPipeline) -> None:
    """Each byte is a token, inside a word and at its end, so what is no merge falls apart into bytes."""
    vocab = pipeline.tokenizer.get_vocab()
    for byte in ByteLevel.alphabet():
        assert {byte, f"{byte}</w>"} <= vocab.keys()


@pytest.mark.parametrize(
    "text", ["a photo of an ankle boot", "chest x-ray: pneumonia?", "größer 7", "肺 🫁", "\x00\x7f", "%$#"]
)
def test_text_comes_back_but_for_spaces(text: str, pipeline: StableDiffusionPipeline) -> None:
    tokenizer = pipeline.tokenizer
    start, *tokens, end = tokenizer(text).input_ids
    assert (start, end) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert tokenizer.unk_token_id not in tokens
    assert tokenizer.decode(tokens).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize("method", TUNED)
def test_method_trains_what_it_counts(method: str, pipeline: StableDiffusionPipeline) -> None:
    unet = pipeline.unet
    expected = METHODS[method].count(unet)
    assert bind_method(method).apply(unet).trainable == expected
    text = pipeline.text_encoder(torch.tensor([[0, 1, 2]]))[0]
    unet(torch.randn(1, 4, 8, 8), 500, encoder_hidden_states=text).sample.square().sum().backward()
    trained = [parameter for parameter in unet.parameters() if parameter.requires_grad]
    assert all(parameter.grad is not None for parameter in trained)


@torch.inference_mode()
def test_vae_keeps_nine_tenths_of_a_digits_variance(pipeline: StableDiffusionPipeline) -> None:
    """It never saw a digit; PSNR so 10 dB above that of each image's mean grey."""
    grey = torch.from_numpy(load_digits().images[:200]).float().unsqueeze(1) / 8 - 1
    large = torch.nn.functional.interpolate(grey, 32, mode="bicubic").clamp(-1, 1).expand(-1, 3, -1, -1)
    again = pipeline.vae.decode(pipeline.vae.encode(large).latent_dist.mean).sample
    variance = (large - large.mean((1, 2, 3), keepdim=True)).square().mean()
    assert (again - large).square().mean() < variance / 10


@torch.inference_mode()
def test_prompt_decides_what_is_drawn(pipeline: StableDiffusionPipeline) -> None:
    """At least half are recognised; by chance, one in ten, that has a probability below 1e-11."""
    prompts = [f"a photo of {'an' if name[0] in 'aeiou' else 'a'} {name}" for name in CLASSES * 5]
    judge = make_vit_nano()
    judge.load_state_dict(load_file(WEIGHTS / "vit_nano.safetensors"))
    images = pipeline(
        prompts,
        num_inference_steps=25,
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(0),
        output_type="pt",
    ).images  # (50, 3, 32, 32) in [0, 1]
    seen = judge.eval()(images * 2 - 1).argmax(1)
    assert (seen == torch.arange(10).repeat(5)).sum() >= 25
