"""Write the model card of an adapter: README.md with a YAML header, as on the Hugging Face Hub.

It states what one trial knows. Names of data sets and classes come from other people's files: they are
escaped, so that they cannot end a line or the header.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from raypeft.core.resize import FITS
from raypeft.core.spec import Task, TrialSpec
from raypeft.core.text import count, visible
from raypeft.datasets import Prepared
from raypeft.metrics import METRICS, REFERENCES
from raypeft.metrics.resamples import REPLICATES, case_intervals
from raypeft.models import RANDOM, Model

LIMITS = (
    "Not a medical device. Not for diagnosis, or for any decision about a patient.",
    "Trained and tested on one data set. How it does on images of other devices, hospitals or populations is "
    "not known.",
    "One seed. Other seeds score differently: see the report of the store.",
    "Every image gets one of the classes below, images that show none of them too.",
    "The probabilities were not calibrated.",
)

Array = np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """The predictions of a classifier for the test images."""

    labels: Array  # int64 (n,)
    probabilities: Array  # float32 (n, classes)
    groups: tuple[str, ...]  # the patient, lesion or image that each case belongs to


def model_card(
    spec: TrialSpec,
    data: Prepared,
    *,
    backbone: Model,
    n_train: int,
    metrics: Mapping[str, float],
    tested: Answers | None,
) -> str:
    """Return the text of README.md.

    `n_train`: images of the fraction; `tested`: None for a text-to-image model.
    """
    known = {name: metrics[f"test/{name}"] for name in METRICS if f"test/{name}" in metrics}
    reference = REFERENCES[backbone.kind.task]
    untrained = {name: metrics[key] for name in known if (key := reference.of(f"test/{name}")) in metrics}
    intervals = case_intervals(tested.labels, tested.probabilities, tested.groups) if tested else {}
    lines = ["---", *_header(spec, backbone, data, known), "---", "", f"# {_escaped(spec.cell.name)}", ""]
    label = _escaped(spec.cell.model_label)
    lines += [
        f"{label} fine-tuned on {_escaped(data.name)} with the method "
        f"{_escaped(spec.cell.method)}: trial {spec.trial_id} of raypeft, seed {spec.seed}.",
        "",
    ]
    lines += [*_data(spec, data, n_train), *_scores(known, intervals, untrained, reference.title)]
    if tested is not None:
        units = len(set(tested.groups))
        lines += [
            f"Intervals: bootstrap over {units:,} patients, lesions or images, {REPLICATES:,} draws.",
            "",
        ]
    lines += ["## Limitations", ""]
    lines += [
        *(f"- {limit}" for limit in LIMITS),
        "",
        *_backbone(label, backbone, spec.weights_digest),
        *_loading(backbone.kind.task),
    ]
    return "\n".join(lines) + "\n"


def _header(spec: TrialSpec, backbone: Model, data: Prepared, scores: Mapping[str, float]) -> Iterator[str]:
    """Yield the lines of the YAML header; JSON strings are valid YAML."""
    task = "image-classification" if backbone.kind.task == "classify" else "text-to-image"
    yield f"pipeline_tag: {task}"
    yield f"tags: {_yaml(['raypeft', 'medical', visible(spec.cell.method)])}"
    if backbone.given is None:
        yield f"base_model: {_yaml(visible(backbone.architecture))}"
    results = [
        {
            "task": {"type": task},
            "dataset": {"name": visible(data.name), "type": "other", "split": "test"},
            "metrics": [{"type": name, "value": round(value, 4)} for name, value in scores.items()],
        }
    ]
    yield f"model-index: {_yaml([{'name': spec.trial_id, 'results': results}])}"


def _data(spec: TrialSpec, data: Prepared, n_train: int) -> Iterator[str]:
    yield "## Data"
    yield ""
    counts = {side: len(data.cases[side]) for side in ("train", "val", "test")}
    yield f"- Data set: {_escaped(data.name)}"
    yield (
        f"- Split: {data.split} (seed {spec.split_seed}); {count(counts['train'], 'training image')}, of "
        f"which {spec.cell.fraction:.0%} were used ({n_train:,}); "
        f"{count(counts['val'], 'validation image')}; {count(counts['test'], 'test image')}"
    )
    if len(data.classes) > 1:
        numbers = np.bincount(data.labels, minlength=len(data.classes)).tolist()
        named = [f"{_escaped(name)} ({number:,})" for name, number in zip(data.classes, numbers, strict=True)]
        yield f"- {count(len(named), 'class', 'classes')}, with images of all splits: {', '.join(named)}"
    yield f"- Images: {FITS[spec.recipe.fit]}; {spec.recipe.image_size} px a side"
    yield ""


def _scores(
    scores: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    untrained: Mapping[str, float],
    title: str,
) -> Iterator[str]:
    """Yield the table of scores; `untrained`: the scores of the reference, which is called `title`."""
    yield "## Scores on test images"
    yield ""
    yield f"| score | value | 95% interval | {title} |"
    yield "|---|---|---|---|"
    for name, value in scores.items():
        span = "{:.3f} to {:.3f}".format(*intervals[name]) if name in intervals else ""
        beside = f"{untrained[name]:.3f}" if name in untrained else ""
        yield f"| {_escaped(METRICS[name].label)} | {value:.3f} | {span} | {beside} |"
    yield ""


def _backbone(label: str, backbone: Model, digest: str) -> Iterator[str]:
    if backbone.given is None:
        source = f"{backbone.source}; {backbone.licence or 'licence not named'}"
    elif backbone.given == RANDOM:
        source = "random, not pre-trained"
    else:
        source = "from a file of the user's own, whose source and licence raypeft does not know"
    yield "## Backbone"
    yield ""
    yield f"- Model: {label}"
    yield f"- Weights: {_escaped(source)}; digest {digest}"
    yield "- The licence of the backbone and the terms of the data hold for what was trained from them."
    yield ""


def _loading(task: Task) -> Iterator[str]:
    yield "## Use"
    yield ""
    yield "```python"
    if task == "classify":
        yield "import raypeft as rp"
        yield ""
        yield 'model = rp.load_model("THIS FOLDER")'
        yield 'model.predict(["image.png"])  # a DataFrame: file, predicted class, probabilities'
    else:
        yield "from raypeft.train import load_adapter"
        yield ""
        yield 'pipeline.unet, _ = load_adapter(Path("THIS FOLDER"))'
    yield "```"


def _yaml(content: object) -> str:
    """Return JSON, which is also YAML if characters are not split into surrogate pairs."""
    return json.dumps(content, ensure_ascii=False)


def _escaped(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", visible(text))
