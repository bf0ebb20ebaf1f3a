"""One trial of sweep_throughput.py as people write it without raypeft: data path, loop and precision.

Networks, weights and methods are raypeft's own, which costs a rival nothing.
"""

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Scores = dict[str, float]  # "val" and, of a final run, "test": macro F1


@dataclass(frozen=True, kw_only=True)
class Work:
    """One sweep: every cell tries all rates, and trains the best again with each seed."""

    table: str  # CSV with image, label, split; images beside it
    methods: dict[str, list[str]]  # by model
    fractions: list[float]
    rates: list[float]
    seeds: list[int]
    epochs: int
    batch_size: int
    image_size: int

    @property
    def num_trials(self) -> int:
        """Of the whole sweep."""
        cells = sum(map(len, self.methods.values())) * len(self.fractions)
        return cells * (len(self.rates) + len(self.seeds))


@dataclass(frozen=True, kw_only=True)
class Job:
    """One trial."""

    model: str
    method: str
    fraction: float
    seed: int
    lr: float
    is_final: bool = False


class Images:
    """A torch Dataset of image files, decoded whenever one is asked for, or once for all (`decoded`)."""

    def __init__(self, rows: list[dict[str, str]], work: Work, model: str, decoded: Path | None) -> None:
        from torchvision import transforms

        from raypeft.models import bind_model, image_size_of

        self._folder, self._rows = Path(work.table).parent, rows
        self._classes = sorted({row["label"] for row in table(work)})
        shown = bind_model(model).preprocessing
        side = image_size_of(bind_model(model), work.image_size)
        self._resize = transforms.Resize((side, side), transforms.InterpolationMode(shown.interpolation))
        self._scale = transforms.Compose([transforms.ToTensor(), transforms.Normalize(shown.mean, shown.std)])
        self._decoded = np.load(decoded, mmap_mode="r") if decoded else None

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> tuple[Any, int]:
        row = self._rows[number]
        pixels = self.pixels(row) if self._decoded is None else self._decoded[int(row["number"])]
        return self._scale(np.array(pixels)), self._classes.index(row["label"])

    def pixels(self, row: dict[str, str]) -> Any:
        """Resized, uint8."""
        from PIL import Image

        with Image.open(self._folder / row["image"]) as image:
            return self._resize(image.convert("RGB"))


def table(work: Work) -> list[dict[str, str]]:
    """Its rows, with their "number"."""
    with Path(work.table).open(newline="") as file:
        return [row | {"number": str(number)} for number, row in enumerate(csv.DictReader(file))]


def decode_once(work: Work) -> None:
    """All images, resized for each model, in files that every trial maps."""
    for model in work.methods:
        images = Images(table(work), work, model, None)
        np.save(decoded_file(work, model), np.stack([np.array(images.pixels(row)) for row in table(work)]))


def decoded_file(work: Work, model: str) -> Path:
    """Where decode_once leaves a model's images."""
    return Path(work.table).with_suffix(f".{model.partition('(')[0]}.npy")


class Data:
    """A trial's images and its network."""

    def __init__(self, job: Job, work: Work, *, tuned: bool = False) -> None:
        from raypeft.datasets.splits import subset

        rows, self._job = table(work), job
        self._images = Images(rows, work, job.model, decoded_file(work, job.model) if tuned else None)
        self._classes = sorted({row["label"] for row in rows})
        sides = np.array([row["split"] for row in rows])
        self._cases = {side: np.flatnonzero(sides == side) for side in ("train", "val", "test")}
        self._cases["train"] = subset(
            self._cases["train"],
            labels=np.array([self._classes.index(row["label"]) for row in rows]),
            case_ids=tuple(row["image"] for row in rows),
            fraction=job.fraction,
            seed=job.seed,
        )

    def part(self, side: str) -> Any:
        """A torch Dataset of train, val or test."""
        from torch.utils.data import Subset

        return Subset(self._images, self._cases[side].tolist())  # type: ignore[arg-type]

    def network(self) -> Any:
        """With the method's parameters; the head follows the job's seed."""
        import torch

        from raypeft.methods import bind_method
        from raypeft.models import bind_model, build_model

        torch.manual_seed(self._job.seed)
        model = build_model(bind_model(self._job.model), num_classes=len(self._classes))
        bind_method(self._job.method).apply(model)
        return model


def train(job: Job, work: Work, *, tuned: bool = False, num_workers: int = 0) -> Scores:
    """One trial on this process's threads.

    `tuned`: images decoded beforehand, bf16 autocast where raypeft's `auto` takes it, channels_last. Else
    float32, image files, and the memory format that timm gives.
    """
    import torch
    from sklearn.metrics import f1_score
    from torch.utils.data import DataLoader

    from raypeft.methods import bind_method
    from raypeft.models import bind_model
    from raypeft.train.state import AUTOCAST, resolve_precision

    data = Data(job, work, tuned=tuned)

    def loader(side: str, **how: Any) -> Any:
        return DataLoader(data.part(side), num_workers=num_workers, **how)

    # as raypeft deals them: no batch of one image, on which BatchNorm cannot train
    num_images = len(data.part("train"))
    num_batches = math.ceil(num_images / work.batch_size)
    batches = loader("train", batch_size=math.ceil(num_images / num_batches), shuffle=True)
    scored = {side: loader(side, batch_size=4 * work.batch_size) for side in ("val", "test")}
    model = data.network()
    cpu = torch.device("cpu")
    width = bind_model(job.model).kind.width(model)
    dtype = AUTOCAST[resolve_precision("auto", width=width, device=cpu)] if tuned else None
    if not tuned:
        model = model.to(memory_format=torch.contiguous_format)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=job.lr, weight_decay=0.01)
    num_steps = work.epochs * len(batches)
    warmup = max(1, round(num_steps / 10))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (
            (step + 1) / warmup
            if step < warmup
            else 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup)))
        ),
    )

    def logits(pixels: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
            return model(pixels.to(memory_format=torch.channels_last) if tuned else pixels).float()

    def f1(side: str) -> float:
        model.eval()
        with torch.no_grad():
            pairs = [(logits(pixels).argmax(1), labels) for pixels, labels in scored[side]]
        found, labels = (torch.cat(part).numpy() for part in zip(*pairs, strict=True))
        return float(f1_score(labels, found, average="macro"))

    scores: Scores = {"val": -1.0}
    for _ in range(work.epochs):
        bind_method(job.method).set_train_mode(model)
        for pixels, labels in batches:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits(pixels), labels).backward()
            optimizer.step()
            schedule.step()
        scores["val"] = max(scores["val"], f1("val"))
    if job.is_final:
        scores["test"] = f1("test")
    return scores


def train_with_trainer(job: Job, work: Work) -> Scores:
    """As train(), with the loop of transformers."""
    import torch
    from sklearn.metrics import f1_score
    from transformers import Trainer, TrainingArguments

    data = Data(job, work)

    class Wrapped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = data.network()

        def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            logits = self.network(pixel_values)
            return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}

    def collate(cases: list[tuple[torch.Tensor, int]]) -> dict[str, torch.Tensor]:
        pixels, labels = zip(*cases, strict=True)
        return {"pixel_values": torch.stack(pixels), "labels": torch.tensor(labels)}

    def f1(found: Any) -> dict[str, float]:
        return {"f1": float(f1_score(found.label_ids, found.predictions.argmax(1), average="macro"))}

    trainer = Trainer(
        model=Wrapped(),
        args=TrainingArguments(
            output_dir=str(Path(work.table).parent / "trainer"),
            per_device_train_batch_size=work.batch_size,
            per_device_eval_batch_size=4 * work.batch_size,
            num_train_epochs=work.epochs,
            learning_rate=job.lr,
            weight_decay=0.01,
            lr_scheduler_type="cosine",
            warmup_steps=0.1,  # a share of the steps
            eval_strategy="epoch",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            seed=job.seed,
        ),
        data_collator=collate,
        train_dataset=data.part("train"),
        eval_dataset=data.part("val"),
        compute_metrics=f1,
    )
    trainer.train()
    scores = {"val": max(entry["eval_f1"] for entry in trainer.state.log_history if "eval_f1" in entry)}
    if job.is_final:
        scores["test"] = trainer.evaluate(data.part("test"))["eval_f1"]
    return scores
