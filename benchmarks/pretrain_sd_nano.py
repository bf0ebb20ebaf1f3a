"""Pre-train sd_nano on captioned Fashion-MNIST and write the pipeline folder that raypeft ships.

Run:      python benchmarks/pretrain_sd_nano.py      (Debian package dataset-fashion-mnist)
Cost and quality: docs/sd_nano.md
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from pretrain_vit_nano import rate, read_split
from tokenizers.pre_tokenizers import ByteLevel
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

OUTPUT = Path(__file__).parents[1] / "raypeft" / "models" / "weights" / "sd_nano"
VAE_BATCH, BATCH, SEED, EMA, NO_CAPTION, SNR_CAP = 16, 32, 0, 0.998, 0.1, 5.0
LENGTH, WIDTH = 32, 64  # of captions in tokens, of their embeddings
KL_WEIGHT = 1e-4  # nats per latent number against the L1 error per pixel; at 1e-3 two channels of four died
NAMES = (
    ("t-shirt", "tee shirt"),
    ("pair of trousers", "trouser"),
    ("pullover", "sweater"),
    ("dress", "gown"),
    ("coat", "jacket"),
    ("sandal", "open shoe"),
    ("shirt", "blouse"),
    ("sneaker", "trainer"),
    ("bag", "handbag"),
    ("ankle boot", "boot"),
)
TEMPLATES = ("{}", "{} on black", "a photo of {}", "a picture of {}", "a small grey image of {}")
ATTRIBUTES = (("dark", "light"), ("narrow", "wide"), ("plain", "patterned"))
# Words of likely prompts that are no clothes: one token each, though an untrained one.
OTHER_TEXTS = (
    "a handwritten digit, number zero one two three four five six seven eight nine",
    "a chest x-ray of a normal lung with pneumonia and no other disease",
    "a medical scan, healthy skin, a lesion, the tumor",
)


def main() -> None:
    """Train the VAE, then the text encoder and the U-Net on its latents; keep their moving average."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--vae-steps", type=int, default=4000)
    parser.add_argument("--unet-steps", type=int, default=5500)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    generator = np.random.default_rng(SEED)
    images, labels = read_split(options.data, "train")
    vae = make_vae().to(memory_format=torch.channels_last)
    train_vae(vae, images[:, :1], options.vae_steps, generator)
    latents = centre_and_encode(vae, images)
    tokenizer = make_tokenizer()
    text_encoder, unet, scheduler = make_text_encoder(tokenizer), make_unet(), make_scheduler()
    caption = make_captions(images[:, 0], labels)

    def draw() -> tuple[torch.Tensor, torch.Tensor]:
        cases = generator.integers(0, len(latents), BATCH)
        texts = [caption(case, generator) for case in cases]
        tokens = tokenizer(texts, padding="max_length", max_length=LENGTH, return_tensors="pt").input_ids
        return latents[torch.from_numpy(cases)], tokens

    text_encoder, unet = train_unet(text_encoder, unet, scheduler, draw, options.unet_steps)
    pipeline = StableDiffusionPipeline(
        vae=vae.half(),
        text_encoder=text_encoder,  # in float32: transformers would load float16 as such
        tokenizer=tokenizer,
        unet=unet.half(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(options.output)
    tokenizer.backend_tokenizer.model.save(str(options.output / "tokenizer"))  # vocab.json, merges.txt
    print(f"{options.output}: {sum(f.stat().st_size for f in options.output.rglob('*.*'))} bytes")


def make_vae() -> AutoencoderKL:
    """Images (n, 3, 32, 32) in [-1, 1] to latents (n, 4, 8, 8) and back."""
    return AutoencoderKL(
        sample_size=32,
        block_out_channels=(16, 16, 32),
        layers_per_block=1,
        norm_num_groups=2,  # few: a norm over one channel would forget how light an image is
        mid_block_add_attention=False,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
    )


def make_unet() -> UNet2DConditionModel:
    """Stable Diffusion's blocks on two levels, 8 x 8 and 4 x 4."""
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 96),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=2,  # the number of heads: diffusers' name for it in this class
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """CLIP's, two layers deep; tokens that no caption holds keep embeddings that tell them apart."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = CLIPTextModel(config)
    nn.init.normal_(model.get_input_embeddings().weight, std=0.1)
    return model


def make_scheduler() -> DDIMScheduler:
    """The noise of Stable Diffusion 1.x."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def make_tokenizer() -> CLIPTokenizer:
    """Byte-level BPE in CLIP's order: bytes, bytes that end a word, merges, start, end."""
    splitter = CLIPTokenizer().backend_tokenizer
    texts = [text for group in (TEMPLATES, *NAMES, *ATTRIBUTES, OTHER_TEXTS) for text in group]
    words = {word for text in texts for word, _ in splitter.pre_tokenizer.pre_tokenize_str(text)}
    alphabet = sorted(ByteLevel.alphabet())
    merges = learn_merges(sorted(words))
    entries = [*alphabet, *(f"{byte}</w>" for byte in alphabet), *map("".join, merges)]
    entries += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {entry: number for number, entry in enumerate(entries)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=LENGTH)


def learn_merges(words: list[str]) -> list[tuple[str, str]]:
    """Join the commonest pair of neighbours, the first of equals, until every word is one token."""
    parts = [[*word[:-1], f"{word[-1]}</w>"] for word in words]
    merges = []
    while pairs := Counter(pair for word in parts for pair in pairwise(word)):
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        parts = [join(word, best) for word in parts]
    return merges


def join(word: list[str], pair: tuple[str, str]) -> list[str]:
    """`word` with every occurrence of the pair as one part."""
    joined: list[str] = []
    for part in word:
        if joined and (joined[-1], part) == pair:
            joined[-1] += part
        else:
            joined.append(part)
    return joined


def train_vae(
    vae: AutoencoderKL, images: torch.Tensor, num_steps: int, generator: np.random.Generator
) -> None:
    """On grey images (n, 1, 32, 32) in [-1, 1], half of them altered beyond clothes."""
    optimizer = torch.optim.Adam(vae.parameters(), lr=5e-3, betas=(0.9, 0.97), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, num_steps))
    started = time.perf_counter()
    for step in range(1, num_steps + 1):
        cases = torch.from_numpy(generator.integers(0, len(images), VAE_BATCH))
        batch = alter(images[cases]).expand(-1, 3, -1, -1)
        posterior = vae.encode(batch).latent_dist
        error = (vae.decode(posterior.sample()).sample - batch).abs().mean()
        loss = error + KL_WEIGHT * posterior.kl().mean() / posterior.mean[0].numel()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 250 == 0:
            seconds = time.perf_counter() - started
            print(f"VAE step {step}: L1 error {error:.4f}, loss {loss:.4f}, {seconds:.0f} s", flush=True)


def alter(images: torch.Tensor) -> torch.Tensor:
    """Zoom, shift, mirror, blend, and change contrast, brightness and sign of half of a batch."""
    count = len(images)
    zoom, flip = torch.rand(count, 2) * 1.2 + 0.3, torch.randint(0, 2, (count, 2)) * 2 - 1
    affine = torch.zeros(count, 2, 3)
    affine[:, [0, 1], [0, 1]] = zoom * flip
    affine[:, :, 2] = torch.rand(count, 2) - 0.5
    grid = nn.functional.affine_grid(affine, list(images.shape), align_corners=False)
    moved = nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    share, contrast, level, choice = torch.rand(4, count, 1, 1, 1)
    blended = torch.lerp(moved, moved.roll(1, 0), (share - 0.5).clamp(min=0.0))
    contrast = 2 * contrast - 1
    altered = contrast * blended + (2 * level - 1) * (1 - contrast.abs())
    return torch.where(choice < 0.5, altered, images)


@torch.inference_mode()
def centre_and_encode(vae: AutoencoderKL, images: torch.Tensor) -> torch.Tensor:
    """The images' latents, scaled as the pipeline scales them; sets the VAE's scaling_factor.

    The mean of each latent channel goes into the biases next to the latents, so that the noise of the
    last step, which has mean 0, is what sampling starts from.
    """
    vae.eval()
    latents = torch.cat([vae.encode(batch).latent_dist.mean for batch in images.split(500)])
    mean = latents.mean((0, 2, 3))
    vae.quant_conv.bias[: len(mean)] -= mean
    vae.post_quant_conv.bias += vae.post_quant_conv.weight[:, :, 0, 0] @ mean
    latents -= mean.view(1, -1, 1, 1)
    vae.register_to_config(scaling_factor=1 / latents.std().item())
    return latents * vae.config.scaling_factor


def make_captions(images: torch.Tensor, labels: torch.Tensor) -> Callable[[int, np.random.Generator], str]:
    """Of grey images (n, 32, 32): name of the class, what sets the image apart, one of the templates."""
    clothes = images > -0.9
    count = clothes.sum((1, 2)).clamp(min=1)
    level = (images * clothes).sum((1, 2)) / count
    spread = ((images - level.view(-1, 1, 1)).square() * clothes).sum((1, 2)) / count
    measured = torch.stack([level, clothes.any(1).sum(1).float(), spread])
    low, high = torch.quantile(measured, torch.tensor([0.33, 0.67]), dim=1, keepdim=True)
    thirds = (1 * (measured > low) + (measured > high)).T.tolist()

    def caption(case: int, generator: np.random.Generator) -> str:
        if generator.random() < NO_CAPTION:
            return ""
        words = [
            ATTRIBUTES[number][third // 2]
            for number, third in enumerate(thirds[case])
            if third != 1 and generator.random() < 0.5
        ]
        thing = " ".join([*words, generator.choice(NAMES[labels[case]])])
        article = "an" if thing[0] in "aeiou" else "a"
        return generator.choice(TEMPLATES).format(f"{article} {thing}")

    return caption


def train_unet(
    text_encoder: CLIPTextModel,
    unet: UNet2DConditionModel,
    scheduler: DDIMScheduler,
    draw: Callable[[], tuple[torch.Tensor, torch.Tensor]],
    num_steps: int,
) -> Iterator[nn.Module]:
    """Predict the noise in drawn latents given their tokens; the moving averages of both networks."""
    trained = nn.ModuleList([text_encoder, unet]).train()
    average = AveragedModel(trained, multi_avg_fn=get_ema_multi_avg_fn(EMA))
    optimizer = torch.optim.AdamW(trained.parameters(), lr=2e-3, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, num_steps))
    snr = scheduler.alphas_cumprod / (1 - scheduler.alphas_cumprod)
    weights = snr.clamp(max=SNR_CAP) / snr  # Hang et al., ICCV 2023, arXiv:2303.09556
    started, losses = time.perf_counter(), []
    for step in range(1, num_steps + 1):
        latents, tokens = draw()
        noise, times = torch.randn_like(latents), torch.randint(0, len(snr), (len(latents),))
        noisy = scheduler.add_noise(latents, noise, times)
        predicted = unet(noisy, times, encoder_hidden_states=text_encoder(tokens)[0]).sample
        loss = ((predicted - noise).square().mean((1, 2, 3)) * weights[times]).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(trained)
        losses.append(loss.item())
        if step % 250 == 0:
            seconds, mean = time.perf_counter() - started, np.mean(losses[-250:])
            print(f"U-Net step {step}: loss {mean:.4f}, {seconds:.0f} s", flush=True)
    return iter(average.module.eval())


if __name__ == "__main__":
    main()
