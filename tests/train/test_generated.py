"""Final runs of a text-to-image model: scored, kept, broken off and gone on, loaded back by diffusers."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from raypeft.core.errors import DrainedError
from raypeft.core.recipe import Generation, Recipe
from raypeft.core.spec import Search, Sweep, TrialSpec, grid
from raypeft.launch.plan import make_plan
from raypeft.metrics.torch.generation import frechet_distance
from raypeft.models import MODELS
from raypeft.store import Store
from raypeft.train import Context, load_adapter, run_trial
from raypeft.train.build import build_trial
from raypeft.train.checkpoint import Checkpoints
from raypeft.train.generated import prompted_cases

SWEEP = Sweep(
    name="g",
    cells=grid(
        method=("lora", "svdiff", "difffit"), model=("sd_nano",), dataset=("digits",), fraction=(0.1,)
    ),
    search=Search(trials=1),
    recipe=Recipe(
        epochs=2,
        batch_size=64,
        micro_batch_size=16,
        image_size=None,
        generation=Generation(
            prompt="digit {class}", num_images=150, num_inference_steps=2, guidance_scale=2.0
        ),
    ),
    final_seeds=(0,),
)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As a trial has on a CPU: equal bits need equal numbers of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Its cache is shared by all tests here."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def plan(store):
    return make_plan(SWEEP, store=Store(store))


def spec_of(plan, method: str, *, seed: int = 0):
    cell = next(cell for cell in SWEEP.cells if cell.method == method)
    return plan.final_spec(cell, seed=seed, lr=3e-3)


def run(spec, store, checkpoints=None, report=lambda epoch: None):
    row = run_trial(spec, Context(store=Store(store), checkpoints=checkpoints), report)
    assert row.status == "done", row.error
    return row


@pytest.fixture(scope="module")
def lora_row(plan, store):
    return run(spec_of(plan, "lora"), store)


def test_scores_follow_from_what_is_kept(lora_row, store):
    metrics = lora_row.metrics
    table = pq.read_table(store / "predictions" / f"{lora_row.trial_id}.parquet")
    features = torch.from_numpy(np.stack(table["features"].to_numpy()).astype(np.float32))
    generated = torch.from_numpy(table["generated"].to_numpy(zero_copy_only=False))
    assert (int(generated.sum()), int((~generated).sum())) == (150, 150)
    assert frechet_distance(features[~generated], features[generated]) == pytest.approx(metrics["test/fid"])
    assert metrics["test/fid_num_images"] == 150
    assert metrics["test/fid_low"] < metrics["test/fid"] < metrics["test/fid_high"]
    assert lora_row.features.startswith("classifier:vit_nano:")
    assert (lora_row.task, lora_row.schema) == ("generate", 5)
    assert set(lora_row.curve[-1]) == {"epoch", "train/loss", "val/noise_mse"}
    strip = Image.open(store / "samples" / f"{lora_row.trial_id}.png")
    assert strip.size == (8 * 32, 32)
    real = np.asarray(Image.open(store / "samples" / f"real-{lora_row.data_digest}.png"))
    assert real.shape == (32, 8 * 32, 3)


def test_prompts_are_the_classes_of_the_images_compared_with(lora_row, store):
    table = pq.read_table(store / "predictions" / f"{lora_row.trial_id}.parquet").to_pandas()
    drawn, real = table[table.generated], table[~table.generated]
    assert drawn.case_id.tolist() == real.case_id.tolist()
    assert drawn.label.tolist() == real.label.tolist()
    assert drawn.case_id.is_unique


def test_a_run_broken_off_while_it_samples_keeps_its_samples(plan, lora_row, store, monkeypatch):
    """Told to leave after its first batch: trains no more, draws the rest, ends in the same row."""
    spec = spec_of(plan, "lora")
    folder = Store(store).checkpoints(spec.trial_id)
    monkeypatch.setattr("raypeft.train.checkpoint.DRAIN_SECONDS", 0)
    for path in (folder / "samples").iterdir():
        path.unlink()

    def drains() -> bool:
        return any((folder / "samples").glob("*.safetensors"))

    with pytest.raises(DrainedError, match="samples"):
        run(spec, store, Checkpoints(folder, seconds=600, drains=drains))
    kept = sorted((folder / "samples").glob("*.safetensors"))
    assert [path.name for path in kept] == ["000000.safetensors"]
    before = kept[0].stat().st_mtime_ns
    epochs = []
    again = Checkpoints(folder, seconds=600)
    row = run(spec, store, again, report=lambda epoch: epochs.append(epoch.number))
    assert epochs == [2], "the verdict on the last epoch alone is asked again"
    assert again.loaded_step == row.steps == row.resumed_step
    assert kept[0].stat().st_mtime_ns == before
    assert (row.metrics, row.curve) == (lora_row.metrics, lora_row.curve)


def test_a_run_broken_off_while_it_trains_ends_in_the_same_row(plan, lora_row, store, tmp_path, monkeypatch):
    spec = spec_of(plan, "lora")
    monkeypatch.setattr("raypeft.train.checkpoint.DRAIN_SECONDS", 0)
    asked = iter([False, True])
    with pytest.raises(DrainedError, match="state after step"):
        run(spec, store, Checkpoints(tmp_path, seconds=600, drains=lambda: next(asked, True)))
    again = Checkpoints(tmp_path, seconds=600)
    row = run(spec, store, again)
    assert 0 < again.loaded_step < row.steps
    assert (row.metrics, row.curve) == (lora_row.metrics, lora_row.curve)


def test_damaged_samples_are_drawn_again(plan, lora_row, store):
    spec = spec_of(plan, "lora")
    path = Store(store).partial_samples(spec.trial_id) / "000000.safetensors"
    good = load_file(path)["images"].clone()  # what was read is a view of the file
    half = path.read_bytes()[:100]
    path.unlink()
    path.write_bytes(half)
    assert run(spec, store).metrics == lora_row.metrics
    assert torch.equal(load_file(path)["images"], good)


def test_a_lora_loads_in_a_plain_pipeline_of_diffusers(plan, lora_row, store):
    from diffusers import StableDiffusionPipeline

    folder = store / "adapters" / lora_row.trial_id
    ours, about = load_adapter(folder)
    pipeline = StableDiffusionPipeline.from_pretrained(MODELS["sd_nano"].weights(), safety_checker=None)
    plain = pipeline.unet.float()
    inputs = torch.randn(2, 4, 8, 8), torch.tensor([20, 700])
    text = torch.randn(2, 7, plain.config.cross_attention_dim)
    with torch.no_grad():
        before = plain(*inputs, encoder_hidden_states=text).sample
        pipeline.load_lora_weights(folder)
        loaded = pipeline.unet(*inputs, encoder_hidden_states=text).sample
        wanted = ours(*inputs, encoder_hidden_states=text).sample
    torch.testing.assert_close(loaded, wanted, rtol=1e-4, atol=1e-5)
    assert (loaded - before).abs().max() > 1e-3, "the adapter does something"
    assert about["method"] == "lora"


def test_a_pipeline_of_ones_own_is_read_from_the_store_wherever_a_worker_stands(tmp_path, monkeypatch):
    """A worker knows it by its folder's name alone, which may be that of a folder beside it."""
    shutil.copytree(MODELS["sd_nano"].weights(), tmp_path / "mine")
    cells = grid(
        method=("lora",),
        model=(f"sd_nano(weights='{tmp_path / 'mine'}')",),
        dataset=("digits",),
        fraction=(0.1,),
    )
    own = make_plan(replace(SWEEP, cells=cells), store=Store(tmp_path / "store"))
    shutil.rmtree(tmp_path / "mine")
    spec = own.search_spec(own.sweep.cells[0], search=own.sweep.search, candidate=0, lr=3e-3)
    sent = TrialSpec.from_dict(spec.content)
    (tmp_path / "beside" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "beside")
    row = run(sent, tmp_path / "store")
    assert (row.model, row.trial_id) == ("sd_nano(weights='mine')", spec.trial_id)


@pytest.mark.parametrize("method", ["svdiff", "difffit"])
def test_an_adapter_draws_the_samples_of_the_run_again(method, plan, store):
    """In a fresh network, from the folder alone: the strip that the run left, pixel by pixel."""
    spec = spec_of(plan, method)
    row = run(spec, store)
    trial = build_trial(spec, Context(store=Store(store)))
    unet, _ = load_adapter(store / "adapters" / row.trial_id)
    images = trial.task.sample(unet, prompted_cases(trial, 150), numbers=range(trial.task.batch_size))
    strip = np.asarray(Image.open(store / "samples" / f"{row.trial_id}.png"))
    assert np.array_equal(np.concatenate(list(images[:8]), axis=1), strip)


def test_a_model_that_tuning_made_worse_is_said_to_have_learned_nothing(plan, store):
    spec = replace(spec_of(plan, "lora"), lr=3.0)
    row = run_trial(spec, Context(store=Store(store)), lambda epoch: None)
    if row.status == "done":
        assert row.metrics["test/fid"] > row.metrics["test/fid_untuned"]
        assert any(remark.startswith("learned nothing: test FID") for remark in row.remarks)
    else:
        assert row.status == "diverged"


def test_the_settings_of_generation_are_part_of_the_id_and_of_the_spec(plan):
    spec = spec_of(plan, "lora")
    content = json.loads(json.dumps(spec.content))
    assert type(spec).from_dict(content).trial_id == spec.trial_id
    other = replace(
        spec, recipe=replace(spec.recipe, generation=replace(spec.recipe.generation, guidance_scale=3.0))
    )
    assert other.trial_id != spec.trial_id
