"""Text-to-image with a latent diffusion model: the U-Net predicts the noise that was added to a latent.

Paper:   Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", CVPR 2022, eq. 2;
         Ho & Salimans, "Classifier-Free Diffusion Guidance", arXiv:2207.12598; sampling by DDIM,
         Song et al., ICLR 2021, eta = 0.
Scores:  noise_mse, the mean squared error of the predicted noise (of v in models that predict that), >= 0,
         lower is better.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

from raypeft.core.recipe import Generation
from raypeft.metrics import SEARCHED_BY, Score
from raypeft.tasks.base import Task

SCORED_STEPS = 4  # timesteps at which a case's noise is predicted for its score
SCORING, SAMPLING = 2**63, 2**63 + 1  # in place of an epoch, for the noise of scores and of samples


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A data set encoded by the frozen parts, in float16: distributions of latents, and embedded prompts."""

    mean: torch.Tensor  # (images, channels, height, width), not scaled
    std: torch.Tensor  # as mean
    text: torch.Tensor  # (prompts, tokens, width); the first is the empty prompt
    images: (
        np.ndarray
    )  # int64 (n,): each case's row of `mean` and `std`; past the end where it was not encoded
    prompts: np.ndarray  # int64 (n,): each case's row of `text`; likewise


class Generate(Task):
    """Noise prediction on encoded images, and images sampled from the model."""

    objective: ClassVar[Score] = SEARCHED_BY["generate"]

    def __init__(
        self,
        encoded: Encoded,
        *,
        vae: Any,
        scheduler: Any,
        settings: Generation,
        seed: int,
        device: torch.device,
        autocast: torch.dtype | None,
        batch_size: int,
    ) -> None:
        """Hold the encoded data; `vae`: diffusers' AutoencoderKL; `scheduler`: the pipeline's DDPMScheduler.

        Noise, timesteps and dropped prompts of case i in epoch e depend on (`seed`, e, i) only.
        """
        self._encoded, self._vae, self._scheduler = encoded, vae, scheduler
        self._settings, self._seed = settings, seed
        self._device, self._autocast, self.batch_size = device, autocast, batch_size

    def loss(self, model: nn.Module, cases: np.ndarray, *, epoch: int) -> torch.Tensor:
        """Return the sum over cases of the squared error, averaged over the numbers of each case's latent."""
        generators = [_generator(self._seed, epoch, case) for case in cases.tolist()]
        dropped = np.array([one.random() < self._settings.prompt_dropout for one in generators])
        steps = [int(one.integers(self._scheduler.config.num_train_timesteps)) for one in generators]
        shape = self._encoded.mean.shape[1:]
        spread, noise = (_normal(generators, shape).to(self._device) for _ in range(2))
        rows = self._encoded.images[cases]
        mean, std = (part[rows].to(self._device).float() for part in (self._encoded.mean, self._encoded.std))
        text = self._embedded(np.where(dropped, 0, self._encoded.prompts[cases]))
        return self._errors(model, mean + std * spread, noise, torch.tensor(steps), text).sum()

    def predict(self, model: nn.Module, cases: np.ndarray) -> torch.Tensor:
        """Return each case's squared errors, float32 (cases, SCORED_STEPS), on the CPU.

        Noise and timesteps are the same for every model and seed, so that scores can be compared.
        """
        model.eval()
        with _inference():
            parts = [
                self._errors_at_steps(model, cases[start : start + self.batch_size])
                for start in range(0, len(cases), self.batch_size)
            ]
        return torch.cat(parts).cpu()

    def score(self, predictions: torch.Tensor, cases: np.ndarray) -> float:
        """Return the mean of the predicted errors."""
        return float(predictions.double().mean())

    def sample(self, model: nn.Module, cases: np.ndarray, *, numbers: range) -> np.ndarray:
        """Generate the images of `numbers`, uint8 (numbers, side, side, 3).

        Image i has the prompt of case i modulo the number of cases, and starts from noise that depends on
        (seed, i) only.
        """
        from diffusers import DDIMScheduler  # takes seconds to import

        scheduler = DDIMScheduler.from_config(self._scheduler.config)  # type: ignore[no-untyped-call]
        scheduler.set_timesteps(self._settings.num_inference_steps)
        generators = [_generator(self._seed, SAMPLING, number) for number in numbers]
        latents = _normal(generators, self._encoded.mean.shape[1:]).to(self._device)
        asked = self._encoded.prompts[cases[np.asarray(numbers) % len(cases)]]
        text, scale = self._embedded(asked), self._settings.guidance_scale
        if scale > 1:
            text = torch.cat([self._embedded(np.zeros_like(asked)), text])
        model.eval()
        with _inference():
            for step in scheduler.timesteps:
                twice = torch.cat([latents, latents]) if scale > 1 else latents
                output = self._output(model, twice, step.expand(len(twice)), text)
                if scale > 1:
                    without, given = output.chunk(2)
                    output = without + scale * (given - without)
                latents = scheduler.step(output, step, latents).prev_sample
            return self._decode(latents)

    def _errors_at_steps(self, model: nn.Module, cases: np.ndarray) -> torch.Tensor:
        num_steps = self._scheduler.config.num_train_timesteps
        latents = self._encoded.mean[self._encoded.images[cases]].to(self._device).float()
        text = self._embedded(self._encoded.prompts[cases])
        errors = []
        for number in range(SCORED_STEPS):
            generators = [_generator(number, SCORING, case) for case in cases.tolist()]
            noise = _normal(generators, latents.shape[1:]).to(self._device)
            step = int((number + 0.5) / SCORED_STEPS * num_steps)
            errors.append(self._errors(model, latents, noise, torch.full((len(cases),), step), text))
        return torch.stack(errors, dim=1)

    def _errors(
        self,
        model: nn.Module,
        latents: torch.Tensor,
        noise: torch.Tensor,
        steps: torch.Tensor,
        text: torch.Tensor,
    ) -> torch.Tensor:
        """Return the squared errors, (batch,); `latents` are not scaled yet."""
        latents, steps = latents * self._vae.config.scaling_factor, steps.to(self._device)
        output = self._output(model, self._scheduler.add_noise(latents, noise, steps), steps, text)
        of_v = self._scheduler.config.prediction_type == "v_prediction"
        target = self._scheduler.get_velocity(latents, noise, steps) if of_v else noise
        return (output - target).square().mean(dim=(1, 2, 3))

    def _output(
        self, model: nn.Module, latents: torch.Tensor, steps: torch.Tensor, text: torch.Tensor
    ) -> torch.Tensor:
        with torch.autocast(self._device.type, dtype=self._autocast, enabled=self._autocast is not None):
            output: torch.Tensor = model(latents, steps.to(self._device), encoder_hidden_states=text).sample
        return output.float()

    def _embedded(self, prompts: np.ndarray) -> torch.Tensor:
        return self._encoded.text[prompts].to(self._device).float()

    def _decode(self, latents: torch.Tensor) -> np.ndarray:
        with torch.autocast(self._device.type, dtype=self._autocast, enabled=self._autocast is not None):
            images: torch.Tensor = self._vae.decode(latents / self._vae.config.scaling_factor).sample
        pixels = ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()


@contextmanager
def _inference() -> Iterator[None]:
    """Turn off gradients, and compute parametrized weights (SV-Diff) only once."""
    with torch.no_grad(), parametrize.cached():
        yield


def _generator(seed: int, purpose: int, case: int) -> np.random.Generator:
    key = np.array([seed, purpose], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, case]))


def _normal(generators: list[np.random.Generator], shape: torch.Size) -> torch.Tensor:
    """Return normal noise, (generators, *shape), float32; drawn on the CPU, so equal on every device."""
    return torch.from_numpy(np.stack([one.standard_normal(tuple(shape), np.float32) for one in generators]))
