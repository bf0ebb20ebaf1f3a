"""The Methods of a paper on a store: what was compared, trained, searched, scored and tested, with sources.

Every number is read from the plans and rows. What they do not record is said to be missing.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TypeVar

from raypeft.analysis.metrics import metric_label, metric_of
from raypeft.analysis.ranking.inference import SHOWN_FROM, Inference
from raypeft.analysis.read.scores import format_fraction
from raypeft.analysis.report.parts import Part
from raypeft.analysis.report.references import REFERENCES
from raypeft.analysis.report.tables import tie_rule
from raypeft.analysis.stats.moderated import PRIOR_DF
from raypeft.analysis.study import Study
from raypeft.core.fitting import describe_unfit
from raypeft.core.recipe import Augmentation, Recipe
from raypeft.core.resize import FITS
from raypeft.core.sources import dataset_label
from raypeft.core.spec import model_label
from raypeft.core.text import count, listed, natural
from raypeft.metrics import SEARCHED_BY

Value = TypeVar("Value")
NOT_RECORDED = "not recorded"
MOST_NAMES = 25
"""Data sets whose numbers of images are given one by one."""
EXPLORING = 8
"""As in launch/search.py, which analysis does not load: candidates before Optuna places any."""


def methods_part(study: Study) -> list[Part]:
    """Return the section's content: text that one click selects. Empty without a plan."""
    if not study.read.sources:
        return []
    note = "Built from the store's plan and rows; one click selects it all. Check it before you print it."
    return [Part(note=note, prose=methods_text(study), fold="Text to paste")]


def methods_text(study: Study) -> list[str]:
    """Return paragraphs, the list of references last."""
    said = [_design(study), _data(study), _training(study), _search(study), _scoring(study)]
    said += [_statistics(study), _software(study)]
    text = " ".join(said)
    cited = [reference for key, reference in REFERENCES.items() if key in text]
    return [*filter(None, said), "\n".join(["References", *cited])]


def _design(study: Study) -> str:
    cells = [one.cell for one in study.read.planned.values()]
    methods = sorted({cell.method for cell in cells})
    models = sorted({model_label(cell.model) for cell in cells}, key=natural)
    datasets = sorted({dataset_label(cell.dataset) for cell in cells}, key=natural)
    shares = [format_fraction(share) for share in sorted({cell.fraction for cell in cells})]
    finals = [row for row in study.rows if row.stage == "final" and row.status in ("done", "diverged")]
    ended = len({row.cell for row in finals} & set(study.read.planned))
    return (
        f"We compared {_counted(methods, 'fine-tuning method')} on {_counted(models, 'model')} and "
        f"{_counted(datasets, 'data set')}, with {listed(shares)} of the training images, after the "
        "design of Dutt "
        f"et al. 2024. Of {count(len(cells), 'planned combination')} of method, model, data set and share, "
        f"{ended:,} have a final run that ended.{_left_out(study)}"
    )


def _left_out(study: Study) -> str:
    """Return which methods do not fit which models; combinations read from elsewhere may be planned there."""
    unfit = {
        cell: why
        for one in study.read.sources
        for cell, why in one.plan.left_out.items()
        if cell.name not in study.read.planned
    }
    return (
        f" Not among these, as they cannot be trained: {'; '.join(describe_unfit(unfit))}." if unfit else ""
    )


def _data(study: Study) -> str:
    found = {name: facts for one in study.read.sources for name, facts in one.plan.data.items()}
    used = sorted({dataset_label(one.cell.dataset) for one in study.read.planned.values()}, key=natural)
    rules = {
        "grouped": "Splits were drawn at random, the images of a patient kept together where the data name "
        "patients, for",
        "official": "The data set's own split was used for",
        "paper": "Splits were drawn at random by image, as by Dutt et al. 2024, for",
    }
    said = []
    for rule in sorted({facts.split for facts in found.values()}):
        names = [name for name in used if name in found and found[name].split == rule]
        sides = [
            f"{name} {'/'.join(f'{found[name].images[side]:,}' for side in ('train', 'val', 'test'))}"
            for name in names[:MOST_NAMES]
        ]
        if names:
            said.append(f"{rules.get(rule, f'Split rule {rule}:')} {listed([*sides, *_more(names)])}.")
    if unknown := [name for name in used if name not in found]:
        said.append(f"How these were split is {NOT_RECORDED}: {listed(unknown)}.")
    order = ["Numbers of images are for training/validation/testing."] if found else []
    return " ".join([*order, *said])


def _training(study: Study) -> str:
    recipe = _only(one.plan.sweep.recipe for one in study.read.sources)
    if recipe is None:
        return "The stores that are read here differ in how models were trained; see each store's plan."
    precisions = sorted({row.precision for row in study.rows if row.precision})
    generator = (
        f" An average of the weights (decay {recipe.ema_decay:g}) was scored." if recipe.ema_decay else ""
    )
    return (
        "Models were trained with AdamW (Loshchilov and Hutter 2019; weight decay "
        f"{recipe.weight_decay:g}) for "
        f"{count(recipe.epochs, 'epoch')} in batches of {count(recipe.batch_size, 'image')}; the learning "
        "rate "
        "rose linearly over the first tenth of the steps and then fell along a cosine. Image size: "
        f"{_image_size(study, recipe)} ({FITS[recipe.fit]}). "
        f"Augmentation: {_augmentation(recipe.augmentation)}. Precision: "
        f"{listed(precisions) or NOT_RECORDED}.{generator}"
    )


def _search(study: Study) -> str:
    ended = [row for row in study.rows if row.stage == "search" and row.status != "failed"]
    search = _only(one.plan.sweep.search for one in study.read.sources)
    if not ended:
        return f"How the learning rates were chosen is {NOT_RECORDED}."
    if search is None:
        return "The stores that are read here differ in how rates were searched; see each store's plan."
    pruned, diverged = (sum(row.status == status for row in ended) for status in ("pruned", "diverged"))
    return (
        f"For each combination, learning rates between {search.lr.low:g} and {search.lr.high:g} were "
        "searched on "
        f"a log scale, with seed {search.seed}: {_candidates(study)}. Candidates were stopped early by "
        f"asynchronous successive halving (Li et al. 2020; from epoch {search.grace_epochs} on, keeping "
        "one in "
        f"{search.reduction_factor}). Of {count(len(ended), 'candidate')} that ended, {pruned:,} were "
        "stopped "
        f"early and {diverged:,} diverged. The rate with the best {_objective(study)} on validation "
        "images was "
        "taken; test images took no part."
    )


def _candidates(study: Study) -> str:
    """How many, and how they were placed."""
    planned = [one.candidates for one in study.read.planned.values()]
    placed = "spread over the range, the same for all methods"
    if max(planned) > EXPLORING:
        placed = (
            f"the first {EXPLORING} {placed}, the others proposed by Optuna's tree-structured Parzen "
            "estimator "
            "(Akiba et al. 2019)"
        )
    carried = any(one.plan.sweep.carried_candidates for one in study.read.sources)
    near = (
        "; where a smaller share of the same data had been searched, within two decades around the rate "
        "found there"
        if carried
        else ""
    )
    return f"{_span(planned)} {'candidate' if planned == [1] else 'candidates'} each, {placed}{near}"


def _scoring(study: Study) -> str:
    finals = [row for row in study.rows if row.stage == "final" and row.status in ("done", "diverged")]
    seeds = sorted({seed for one in study.read.planned.values() for seed in one.final_seeds})
    return (
        f"Each combination was then trained {_times(study)} with the chosen rate (seeds "
        f"{listed([str(seed) for seed in seeds]) or NOT_RECORDED}, which no search had used); the "
        f"epoch with the best {_objective(study)} on validation images was kept and scored once on the test "
        f"images, by {metric_label(study.metric)}. {count(len(finals), 'final run')} ended."
    )


def _statistics(study: Study) -> str:
    if not study.inferences:
        return "No final run is scored yet, and nothing was tested."
    one = study.inferences[0]
    label = metric_label(study.metric)
    many = f" ({len(study.inferences)} rankings: models that share few methods are ranked apart)"
    apart = many if len(study.inferences) > 1 else ""
    datasets = {dataset for ranked in study.inferences for dataset in ranked.pool.datasets}
    over = f"by data set and then over {len(datasets)} data sets" if len(datasets) > 1 else "over these"
    ranks = (
        "Within each combination of model, data set and share, methods were ranked by their mean "
        f"{label} over seeds ({tie_rule(study.ties)}); ranks and scores were averaged {over} (Demsar "
        f"2006){apart}."
    )
    pairs = (
        "Differences have 95% intervals by t, with each pair's variance moderated by the mean of all (Smyth "
        f"2004; prior of {PRIOR_DF:g} degrees of freedom), that hold for all pairs at once (Tukey 1953; "
        "Kramer "
        "1956). Which methods may be the best follows from comparisons with the best (Hsu 1996)"
    )
    rules = f"a first place counts as shown from {SHOWN_FROM} data sets on, at 95%"
    return " ".join(filter(None, [ranks, f"{pairs}; {rules}.", _unit(one), _margin(one), _diverged(study)]))


def _unit(one: Inference) -> str:
    if one.units > 1:
        return "The data set is the unit of replication: intervals allow for other data sets like these."
    if not one.levels:
        return "With one run each on one data set, no interval can be given."
    return f"With one data set, intervals allow for other {listed(one.levels)} alone."


def _margin(one: Inference) -> str:
    if math.isnan(one.margin):
        return "No margin of equivalence was set."
    return f"Two methods are called equivalent where the interval lies within ±{one.margin:g}."


def _diverged(study: Study) -> str:
    """How runs without a score count, and how many there are."""
    own = study.own_rankings
    number = sum(row.stage == "final" and row.status == "diverged" for row in study.rows)
    missing = sum(len(one.pool.missing) for one in own)
    hopeless = sum("no usable rate" in found for found in study.remarks.values())
    bound = metric_of(study.metric).bounds[0 if own[0].pool.sign > 0 else 1]
    worst = f"the worst score, {bound:g}" if math.isfinite(bound) else "the worst finished run of its block"
    some = f"Of the final runs, {number:,} diverged; each counts as {worst}."
    said = [some if number else "No final run diverged."]
    if hopeless:
        where = count(hopeless, "combination")
        said.append(f"In {where} no candidate finished, so that no final run followed; they count the same.")
    if missing:
        are, them = ("is", "it") if missing == 1 else ("are", "them")
        said.append(
            f"{count(missing, 'combination')} without a finished run {are} ranked where a two-way fit of the "
            f"others expects {them}."
        )
    return " ".join(said)


def _software(study: Study) -> str:
    versions: dict[str, set[str]] = {}
    for row in study.rows:
        for name, version in row.versions.items():
            versions.setdefault(name, set()).add(version)
    named = [f"{name} {' and '.join(sorted(found))}" for name, found in sorted(versions.items())]
    commits = sorted({row.git for row in study.rows if row.git and row.git != "unknown"})
    hardware = sorted({row.hardware for row in study.rows if row.hardware})
    return (
        f"Software: raypeft ({'commit ' + listed(commits) if commits else f'commit {NOT_RECORDED}'}), "
        f"{', '.join(named) or f'versions {NOT_RECORDED}'}. Hardware: {listed(hardware) or NOT_RECORDED}."
    )


def _counted(names: Sequence[str], noun: str) -> str:
    """ "2 data sets (a and b)"."""
    return f"{count(len(names), noun)} ({listed([*names[:MOST_NAMES], *_more(names)])})"


def _more(names: Sequence[str]) -> list[str]:
    return [f"{len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else []


def _times(study: Study) -> str:
    numbers = [len(one.final_seeds) for one in study.read.planned.values()]
    return "once" if set(numbers) == {1} else f"{_span(numbers)} times"


def _span(numbers: Iterable[int]) -> str:
    found = sorted(set(numbers))
    return f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _objective(study: Study) -> str:
    """What a search and the choice of an epoch go by."""
    tasks = sorted({row.task for row in study.rows})
    return listed([metric_label(SEARCHED_BY[task].name) for task in tasks]) or NOT_RECORDED


def _image_size(study: Study, recipe: Recipe) -> str:
    """As the rows say, before what was asked."""
    sizes = {row.spec["recipe"]["image_size"] for row in study.rows if "recipe" in row.spec}
    known = sorted(sizes - {None}) or ([recipe.image_size] if recipe.image_size else [])
    return f"{listed([str(size) for size in known])} pixels" if known else "each model's own"


def _augmentation(augmentation: Augmentation | None) -> str:
    settings = asdict(augmentation) if augmentation else {}
    used = {name: value for name, value in settings.items() if value not in (None, 0.0, (1.0, 1.0))}
    return ", ".join(f"{name} {value}" for name, value in used.items()) or "none"


def _only(values: Iterable[Value]) -> Value | None:
    """The one value that all are; None where they differ."""
    first, *others = values
    return first if all(other == first for other in others) else None
