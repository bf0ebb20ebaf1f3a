"""Noise prediction and sampling, against diffusers' own pipeline on the same weights and noise."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from raypeft.core.recipe import Generation
from raypeft.models import bind_model, build_model, open_frozen_parts
from raypeft.tasks import Encoded, Generate

CPU = torch.device("cpu")
SETTINGS = Generation(num_inference_steps=4, guidance_scale=3.0, prompt_dropout=0.0)
PROMPTS = ("", "a bag", "a dark sneaker", "7")


@pytest.fixture(scope="module")
def parts():
    return open_frozen_parts(bind_model("sd_nano").weights())


@pytest.fixture(scope="module")
def unet():
    return build_model(bind_model("sd_nano"), num_classes=0)


@pytest.fixture(scope="module")
def encoded(parts):
    generator = torch.Generator().manual_seed(0)
    tokens = parts.tokenizer(
        list(PROMPTS), padding="max_length", max_length=parts.tokenizer.model_max_length, return_tensors="pt"
    )
    with torch.no_grad():
        text = parts.text_encoder(tokens.input_ids)[0].half()
    return Encoded(
        mean=torch.randn(6, 4, 8, 8, generator=generator).half(),
        std=torch.zeros(6, 4, 8, 8).half(),
        text=text,
        images=np.arange(6),
        prompts=np.array([1, 2, 3, 1, 2, 3]),
    )


@pytest.fixture
def make_task(encoded, parts):
    def make(*, seed: int = 0, scheduler=parts.scheduler, encoded=encoded, **changes: object) -> Generate:
        return Generate(
            encoded,
            vae=parts.vae,
            scheduler=scheduler,
            settings=replace(SETTINGS, **changes),
            seed=seed,
            device=CPU,
            autocast=None,
            batch_size=4,
        )

    return make


class Recorder(nn.Module):
    """Predicts nothing, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def forward(self, latents, steps, encoder_hidden_states):
        self.asked.append((latents, steps, encoder_hidden_states))

        class Output:
            sample = torch.zeros_like(latents)

        return Output


def test_samples_are_those_of_diffusers_own_pipeline(make_task, unet, parts):
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    recorder = Recorder()
    make_task(seed=5).sample(recorder, np.array([0, 1, 2]), numbers=range(3))
    noise = recorder.asked[0][0][:3]  # what both start from
    pipeline = StableDiffusionPipeline(
        vae=parts.vae,
        text_encoder=parts.text_encoder,
        tokenizer=parts.tokenizer,
        unet=unet,
        scheduler=DDIMScheduler.from_config(parts.scheduler.config),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    with torch.no_grad():
        wanted = pipeline(
            [PROMPTS[1], PROMPTS[2], PROMPTS[3]],
            latents=noise,
            num_inference_steps=SETTINGS.num_inference_steps,
            guidance_scale=SETTINGS.guidance_scale,
            height=32,
            width=32,
            output_type="np",
        ).images
    images = make_task(seed=5).sample(unet, np.array([0, 1, 2]), numbers=range(3))
    assert images.shape == (3, 32, 32, 3)
    assert images.dtype == np.uint8
    # the text is kept as float16, and a pixel lies on the border between two values now and then
    assert np.abs(images.astype(int) - np.rint(255 * wanted).astype(int)).max() <= 2


def test_prompts_follow_in_turn_and_noise_follows_number_and_seed(make_task):
    def first_call(seed: int, numbers: range):
        recorder = Recorder()
        make_task(seed=seed, guidance_scale=1.0).sample(recorder, np.array([0, 1, 2]), numbers=numbers)
        return recorder.asked[0]

    noise, _, text = first_call(0, range(6))
    later, _, later_text = first_call(0, range(3, 6))
    torch.testing.assert_close(noise[3:], later, rtol=0, atol=0)
    torch.testing.assert_close(text[3:], later_text, rtol=0, atol=0)
    torch.testing.assert_close(text[:3], text[3:], rtol=0, atol=0)
    assert not torch.equal(noise[:3], noise[3:])
    assert not torch.equal(noise, first_call(1, range(6))[0])


def test_a_loss_of_a_batch_is_the_sum_of_its_cases(make_task, unet):
    task, cases = make_task(), np.arange(6)
    whole = task.loss(unet, cases, epoch=2)
    parts = sum(task.loss(unet, cases[number : number + 1], epoch=2) for number in range(6))
    torch.testing.assert_close(whole, parts, rtol=1e-5, atol=0)
    assert task.loss(unet, cases, epoch=3) != whole, "every epoch has noise of its own"


def test_loss_is_that_of_the_noise_which_was_added(make_task, parts, encoded):
    """Worked out again from what the network was given: x_t = sqrt(a) x_0 + sqrt(1 - a) eps."""
    recorder = Recorder()
    loss = make_task().loss(recorder, np.arange(6), epoch=1)
    noise, _, _ = unmixed(recorder, parts, encoded)
    assert loss.item() == pytest.approx(noise.square().mean(dim=(1, 2, 3)).sum().item(), rel=1e-4)
    assert noise.std().item() == pytest.approx(1, abs=0.1)  # 1,536 draws: 5 standard errors are 0.09


def test_v_prediction_is_compared_with_v(make_task, parts, encoded):
    """v = sqrt(a) eps - sqrt(1 - a) x_0, Salimans & Ho, ICLR 2022, appendix D."""
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler.from_config(parts.scheduler.config, prediction_type="v_prediction")
    recorder = Recorder()
    loss = make_task(scheduler=scheduler).loss(recorder, np.arange(6), epoch=1)
    noise, latents, alphas = unmixed(recorder, parts, encoded)
    v = alphas.sqrt() * noise - (1 - alphas).sqrt() * latents
    assert loss.item() == pytest.approx(v.square().mean(dim=(1, 2, 3)).sum().item(), rel=1e-4)


def test_latents_are_drawn_from_their_distribution(make_task, parts, encoded):
    recorder = Recorder()
    task = make_task(encoded=replace(encoded, mean=0 * encoded.mean, std=1 + 0 * encoded.std))
    for epoch in range(1, 9):
        task.loss(recorder, np.arange(6), epoch=epoch)
    for noisy, steps, _ in recorder.asked:
        alphas = parts.scheduler.alphas_cumprod[steps]
        wanted = alphas * parts.vae.config.scaling_factor**2 + (1 - alphas)
        found = noisy.square().mean(dim=(1, 2, 3))
        assert (found / wanted).tolist() == pytest.approx([1] * 6, abs=0.45)  # 256 draws: 5 sd are 0.44


def unmixed(recorder: Recorder, parts, encoded) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noise, scaled latents and alphas of the first call, where the latents' deviation is 0."""
    noisy, steps, _ = recorder.asked[0]
    alphas = parts.scheduler.alphas_cumprod[steps].view(-1, 1, 1, 1)
    latents = parts.vae.config.scaling_factor * encoded.mean.float()
    return (noisy - alphas.sqrt() * latents) / (1 - alphas).sqrt(), latents, alphas


def test_dropped_prompts_are_empty_ones(make_task, encoded):
    recorder = Recorder()
    task = make_task(prompt_dropout=0.5)
    for epoch in range(1, 41):
        task.loss(recorder, np.arange(6), epoch=epoch)
    texts = torch.cat([text for _, _, text in recorder.asked])
    empty = (texts == encoded.text[0].float()).flatten(1).all(1)
    # 240 draws at one half: 4 standard deviations are 0.13
    assert empty.float().mean().item() == pytest.approx(0.5, abs=0.13)
    recorder.asked.clear()
    task.predict(recorder, np.arange(6))
    assert not any((text == encoded.text[0].float()).flatten(1).all(1).any() for _, _, text in recorder.asked)


def test_scores_compare_models_of_any_seed(make_task, unet):
    first, second = (make_task(seed=seed).predict(unet, np.arange(6)) for seed in (0, 1))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert first.shape == (6, 4)
    task = make_task()
    assert task.score(first, np.arange(6)) == pytest.approx(first.mean().item())
    assert task.objective.is_better(0.1, 0.2)
