"""Encode a data set with the frozen VAE and text encoder, once per store; every trial maps the result."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from raypeft.core.recipe import Generation
from raypeft.core.spec import TrialSpec
from raypeft.datasets import Prepared
from raypeft.models import FrozenParts
from raypeft.tasks import Encoded
from raypeft.tasks.base import rows_of
from raypeft.train.context import Context
from raypeft.train.tensors import cache_path, cut, divided_tensors

IMAGES_AT_ONCE, PROMPTS_AT_ONCE = 16, 64


def encode(
    spec: TrialSpec,
    context: Context,
    *,
    data: Prepared,
    images: np.ndarray,
    sides: Mapping[str, np.ndarray],
    parts: FrozenParts,
) -> Encoded:
    """Return latents of the cases of `sides`, and their prompts' embeddings, from the cache.

    `images`: uint8 (n, side, side, 3). Each side is cached separately, with the prompts that are new in it.
    Processes that want the same share the work. Afterwards the networks of `parts` are on the context's
    device. Prompts that are too long for the text encoder are cut, as in diffusers.
    """
    prompts = prompts_of(data, spec.recipe.generates_by)
    place = {"": 0}
    found: list[dict[str, torch.Tensor]] = []
    parts.vae.to(context.device)
    encode_images = functools.partial(_encode_images, context, parts)
    encode_texts = functools.partial(_encode_texts, context, parts)
    for side, cases in sides.items():
        texts = sorted({prompts[case] for case in cases} - place.keys())
        place |= {text: len(place) + number for number, text in enumerate(texts)}
        texts = texts if found else ["", *texts]
        path = cache_path(
            context.store.cache / "latents",
            *(spec.weights_digest, spec.data_digest, asdict(spec.resize), side, texts),
        )
        pieces = [
            *(
                functools.partial(encode_images, images, cases[some])
                for some in cut(len(cases), IMAGES_AT_ONCE)
            ),
            *(functools.partial(encode_texts, texts[some]) for some in cut(len(texts), PROMPTS_AT_ONCE)),
        ]
        found.append(divided_tensors(path, pieces, waiting=context.beat))
    return Encoded(
        **{name: torch.cat([tensors[name] for tensors in found if name in tensors]) for name in found[0]},
        images=rows_of(np.concatenate([*sides.values()]), num_cases=len(images)),
        prompts=np.array([place.get(prompt, len(place)) for prompt in prompts]),
    )


def prompts_of(data: Prepared, settings: Generation) -> list[str]:
    """Return one prompt per case: the table's own, else one made from the case's class."""
    if data.prompts is not None:
        return list(data.prompts)
    return [settings.prompt_of(data.classes[label]) for label in data.labels.tolist()]


@contextmanager
def _plain_numbers() -> Iterator[None]:
    """Run inference with one thread, so that the number of threads does not change the bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(before)


def _encode_images(
    context: Context, parts: FrozenParts, images: np.ndarray, cases: np.ndarray
) -> dict[str, torch.Tensor]:
    means, deviations = [], []
    with _plain_numbers():
        for start in range(0, len(cases), IMAGES_AT_ONCE):
            context.beat()
            some = images[cases[start : start + IMAGES_AT_ONCE]]
            pixels = torch.tensor(some, device=context.device).permute(0, 3, 1, 2)
            latents: Any = parts.vae.encode(pixels.contiguous().float() / 127.5 - 1).latent_dist
            means.append(latents.mean.half().cpu())
            deviations.append(latents.std.half().cpu())
        return {"mean": torch.cat(means), "std": torch.cat(deviations)}


def _encode_texts(context: Context, parts: FrozenParts, texts: Sequence[str]) -> dict[str, torch.Tensor]:
    parts.text_encoder.to(context.device)
    embedded = []
    with _plain_numbers():
        for start in range(0, len(texts), PROMPTS_AT_ONCE):
            context.beat()
            tokens = parts.tokenizer(
                list(texts[start : start + PROMPTS_AT_ONCE]),
                padding="max_length",
                max_length=parts.tokenizer.model_max_length,
                truncation=True,
                return_tensors="pt",
            )
            embedded.append(parts.text_encoder(tokens.input_ids.to(context.device))[0].half().cpu())
        return {"text": torch.cat(embedded)}
