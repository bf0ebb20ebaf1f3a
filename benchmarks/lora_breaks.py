"""What breaks LoRA in text-to-image: the paper's FID of about 400 beside 20 to 60 of the other methods.

Run:      python benchmarks/lora_breaks.py --store runs/lora_breaks   (minutes on one core: sd_nano on digits)
Prints the FID of final runs of LoRA at rates from far too low to far too high, and of one run whose adapter
was put together wrongly in the ways that a script can: scaled by alpha instead of alpha / r, with A and B
drawn at random, or never loaded. The validation error of each says whether a search would have seen it.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import nn

from raypeft.core.recipe import Generation, Recipe
from raypeft.core.spec import Search, Sweep, TrialSpec, grid
from raypeft.launch.plan import make_plan
from raypeft.metrics.torch.generation import frechet_distance
from raypeft.store import Store
from raypeft.train import Context, load_adapter, run_trial
from raypeft.train.build import Trial, build_trial
from raypeft.train.extractor import open_extractor
from raypeft.train.generated import prompted_cases

RATES = (1e-5, 1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
METHOD, CPU = "lora", torch.device("cpu")
SWEEP = Sweep(
    name="lora_breaks",
    cells=grid(method=(METHOD,), model=("sd_nano",), dataset=("digits",)),
    search=Search(trials=1),
    recipe=Recipe(
        epochs=5,
        batch_size=32,
        micro_batch_size=32,
        generation=Generation(
            prompt="a photo of the digit {class}", num_images=256, num_inference_steps=20, guidance_scale=2.0
        ),
    ),
    final_seeds=(0,),
)


def main() -> None:
    """Rates first, then the best of them put together wrongly."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--store", type=Path, required=True)
    store = Store(parser.parse_args().store)
    torch.set_num_threads(1)
    plan = make_plan(SWEEP, store=store)
    scores: dict[float, float] = {}
    print("| LoRA | validation noise MSE | FID | remarks |\n|---|---|---|---|")
    for rate in RATES:
        spec = plan.final_spec(SWEEP.cells[0], seed=0, lr=rate)
        row = run_trial(spec, Context(store=store), lambda epoch: None)
        if row.status != "done":
            print(f"| rate {rate:g} | {row.status}: {row.error} | | |", flush=True)
            continue
        scores[rate] = row.metrics["test/fid"]
        untuned = row.metrics["test/fid_untuned"]
        error = row.metrics["val/noise_mse"]
        print(f"| rate {rate:g} | {error:.4f} | {scores[rate]:.1f} | {'; '.join(row.remarks)} |", flush=True)
    best = plan.final_spec(SWEEP.cells[0], seed=0, lr=min(scores, key=scores.__getitem__))
    trial = build_trial(best, Context(store=store))
    for name, spoil in (
        ("never loaded", lambda model: scale(model, 0.0)),
        ("scaled by alpha, not alpha / r (r = 4)", lambda model: scale(model, 4.0)),
        ("scaled by alpha, not alpha / r, at r = 16", lambda model: scale(model, 16.0)),
        ("A and B drawn at random, as a layer's own default is", draw_again),
    ):
        model, _ = load_adapter(store.adapter(best.trial_id))
        spoil(model)
        error = trial.task.score(trial.task.predict(model, trial.val), trial.val)
        print(f"| {name} | {error:.4f} | {fid(best, trial, model, store):.1f} | |", flush=True)
    print(f"| untuned | | {untuned:.1f} | |")


def scale(model: nn.Module, factor: float) -> None:
    """Multiply what LoRA adds."""
    for module in model.modules():
        if hasattr(module, "lora_scaling"):
            module.lora_scaling *= factor


def draw_again(model: nn.Module) -> None:
    """Both matrices anew, so that B is not zero before the first step."""
    torch.manual_seed(0)
    for module in model.modules():
        if hasattr(module, "lora_A"):
            module.lora_A.reset_parameters()
            module.lora_B.reset_parameters()


def fid(spec: TrialSpec, trial: Trial, model: nn.Module, store: Store) -> float:
    """As a final run's, of another model."""
    num_images, size = spec.recipe.generates_by.num_images, trial.task.batch_size
    cases = prompted_cases(trial, num_images)
    numbers = [range(start, min(start + size, num_images)) for start in range(0, num_images, size)]
    images = np.concatenate([trial.task.sample(model, cases, numbers=part) for part in numbers])
    extractor = open_extractor(
        "classifier",
        data=trial.data,
        resize=spec.resize,
        cache_dir=store.cache,
        device=CPU,
    )
    both = (extractor.features(part, device=CPU) for part in (trial.images[cases], images))
    return frechet_distance(*both)


if __name__ == "__main__":
    main()
