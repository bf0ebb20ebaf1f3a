"""The tables of a report for a clinician: scores with intervals, classes, patients, subgroups."""

import math
from collections.abc import Iterator, Mapping, Sequence

from raypeft.analysis.questions.clinical import SPECIFICITY, ByClass, Clinical, Estimate
from raypeft.analysis.questions.mistakes import Mistake
from raypeft.analysis.questions.subgroups import SubgroupGap
from raypeft.analysis.ranking.classical_words import format_p
from raypeft.analysis.read.scores import Block, format_fraction
from raypeft.analysis.report.figures import Figures
from raypeft.analysis.report.parts import MOST_PANELS, Part, foldable
from raypeft.analysis.report.tables import MISSING, Row, Table
from raypeft.analysis.stats.calibration import LEAST_UNITS as LEAST_TO_CALIBRATE
from raypeft.analysis.stats.clusters import LEAST_UNITS
from raypeft.analysis.study import Study
from raypeft.core.text import count
from raypeft.metrics import METRICS
from raypeft.store.plan import DataRecord

Found = Mapping[Block, Mapping[str, Clinical]]
UNKNOWN_THRESHOLD = "threshold not known"
OF_PATIENTS = ("auroc", "balanced_accuracy", "f1_macro")


def clinical_parts(study: Study, figures: Figures) -> list[Part]:
    """Return tables and figures; none without predictions."""
    found = study.clinical
    if not found:
        return []
    patients, gaps = patient_table(found), subgroup_table(study.gaps)
    mistakes = mistake_table(study.mistakes)
    data = {name: facts for one in study.read.sources for name, facts in one.plan.data.items()}
    none = "The manifest has no subgroup (sex, age, skin type, ...) that is large enough to compare."
    return [
        foldable(clinical_table(found)),
        *([foldable(patients)] if patients else []),
        foldable(class_table(found)),
        foldable(count_table(found, data)),
        foldable(gaps) if gaps else Part(note=none),
        *([Part(table=mistakes, fold=mistakes.title)] if mistakes else []),
        Part(drawings=figures.reliability[:MOST_PANELS], fold="Reliability curves",
             note="Below the diagonal a model is surer than it is right. Bins with 1% of the cases or more."),
        Part(drawings=figures.confusion[:MOST_PANELS], fold="Confusion matrices",
             note="Test images, mean over seeds; shade: share of the true class."),
    ]  # fmt: skip


def clinical_table(found: Found) -> Table:
    """Tabulate AUROC, balanced accuracy, macro F1 and calibration of every cell, with intervals."""
    rows = [
        Row(
            group=_block(block),
            texts={
                "method": method,
                "AUROC": _estimate(c.auroc),
                "balanced accuracy": _estimate(c.balanced_accuracy),
                "macro F1": _estimate(c.f1),
                "ECE": _number(c.scores["ece"]),
                "calibration error": _estimate(c.calibration),
                "patients": f"{c.patients:,}",
            },
        )
        for block, method, c in _cells(found)
    ]
    return _table(
        "Clinical scores on test images",
        rows,
        "Means over seeds, from the stored predictions; in brackets 95% intervals: other patients, "
        f"these trained models. None with fewer than {LEAST_UNITS} patients of a class. Patients: "
        "lesions or images where the data name no patient. ECE: expected calibration error over 15 "
        "bins, of the likeliest class; chance alone makes it 0.03 with 1,000 images and 0.12 with 60. "
        "Calibration error: root of the mean squared gap between stated confidence and share right, "
        f"without what chance adds; from {LEAST_TO_CALIBRATE} patients on. Lower is better for both.",
    )


def class_table(found: Found) -> Table:
    """Tabulate F1 of every class, and how often it is found and spared, by two rules."""
    rows = [
        Row(
            group=_block(block),
            texts={
                "method": method,
                "class": name,
                "test images": f"{one.cases:,}",
                "F1": _number(one.f1),
                "sensitivity": _estimate(one.likeliest.sensitivity),
                "specificity": _estimate(one.likeliest.specificity),
                **_at_threshold(one),
            },
        )
        for block, method, c in _cells(found)
        for name, one in c.by_class.items()
    ]
    return _table(
        "Scores by class",
        rows,
        "Each class against all others, means over seeds. Sensitivity and specificity: the class is "
        "called where it is the likeliest. At threshold: it is called above the threshold that keeps "
        f"{SPECIFICITY:.0%} specificity on validation images, of each run; on test images the "
        "specificity may come out otherwise. Runs that kept no predictions of validation images have "
        "no known threshold, and none is read off the test images. 95% intervals: Clopper and "
        "Pearson's, patients whole, these trained models.",
    )


def patient_table(found: Found) -> Table | None:
    """Tabulate scores by image and by patient's mean probabilities; None if no patient has several images."""
    rows = [
        Row(
            group=_block(block),
            texts={"method": method, "patients": f"{c.patients:,}"}
            | {
                f"{METRICS[name].label} by {unit}": _number(scores.get(name, math.nan))
                for name in OF_PATIENTS
                for unit, scores in (("image", c.scores), ("patient", c.per_patient))
            },
        )
        for block, method, c in _cells(found)
        if c.per_patient
    ]
    if not rows:
        return None
    return _table(
        "Scores by patient",
        rows,
        "By patient: the mean of the probabilities of a patient's, or lesion's, images is one answer.",
    )


def count_table(found: Found, data: Mapping[str, DataRecord]) -> Table:
    """Tabulate images of every class by split; `data`: of the plans, by data set."""
    cells = sorted(_cells(found), key=_knows_validation)  # the last one of a data set stays
    known = {dataset: c for (_, dataset, _), _, c in cells}
    rows = [
        Row(
            group=dataset,
            texts={
                "class": name,
                "train": trained,
                "val": MISSING if one.validation_cases is None else f"{one.validation_cases:,}",
                "test": f"{one.cases:,}",
            },
        )
        for dataset, c in sorted(known.items())
        for trained, (name, one) in zip(_trained(data.get(dataset), c), c.by_class.items(), strict=True)
    ]
    return Table(
        title="Images by class",
        columns=tuple(rows[0].texts),
        rows=tuple(rows),
        notes=("Train: of the largest share that was trained on. A dash: not stored.",),
        group_name="data set",
    )


def subgroup_table(found: Mapping[Block, Mapping[str, Sequence[SubgroupGap]]]) -> Table | None:
    """Tabulate gaps in balanced accuracy between subgroups; None if the manifest has no usable subgroup."""
    rows = [
        Row(
            group=_block(block),
            texts={
                "method": method,
                "subgroup": gap.column,
                "gap": f"{gap.gap:.3f} ({gap.low:+.3f} to {gap.high:+.3f})",
                "p": format_p(gap.p),
                "worst": gap.worst,
                "best": gap.best,
                "balanced accuracy": "; ".join(
                    f"{name} {score:.3f} (n={n})" for name, (n, score) in gap.groups.items()
                ),
                "left out": ", ".join(gap.left_out) or MISSING,
            },
        )
        for block, cells in found.items()
        for method, gaps in sorted(cells.items())
        for gap in gaps
    ]
    if not rows:
        return None
    return _table(
        "Gaps between subgroups",
        rows,
        "Gap: balanced accuracy of the best minus that of the worst group, means over seeds. Its "
        "interval holds for all pairs of groups at once, and p allows for the largest gap being "
        f"looked at; patients whole. Of {count(len(rows), 'line')}, {0.05 * len(rows):.1f} would have "
        f"a p below 0.05 by chance. Left out: fewer than {LEAST_UNITS} patients of a class.",
    )


def mistake_table(found: Mapping[tuple[Block, str], Sequence[Mistake]]) -> Table | None:
    """Tabulate what the best method of each block was surest of and got wrong; None without a mistake."""
    rows = [
        Row(
            group=_block(block),
            texts={
                "method": method,
                "case": one.case_id,
                "class": one.label,
                "taken for": one.said,
                "confidence": _number(one.confidence),
                "runs that err": f"{one.wrong} of {one.runs}",
            },
        )
        for (block, method), mistakes in found.items()
        for one in mistakes
    ]
    if not rows:
        return None
    return _table(
        "Most confident mistakes",
        rows,
        "Of the method with the best macro F1 in each block, by the mean probabilities of its runs. No store "
        "holds an image: who has them sees these with raypeft data mistakes SRC STORE -o FILE.",
    )


def _cells(found: Found) -> Iterator[tuple[Block, str, Clinical]]:
    for block, cells in found.items():
        for method, one in sorted(cells.items()):
            yield block, method, one


def _knows_validation(cell: tuple[Block, str, Clinical]) -> bool:
    """Older runs do not."""
    return all(one.validation_cases is not None for one in cell[2].by_class.values())


def _trained(facts: DataRecord | None, one: Clinical) -> list[str]:
    """By class: the training images of the largest share, which is named where it is not the whole."""
    most = max(facts.subsets, key=lambda subset: subset.images, default=None) if facts else None
    if most is None or len(most.per_class) != len(one.classes):
        return [MISSING] * len(one.classes)
    share = "" if most.fraction == 1 else f" ({format_fraction(most.fraction)})"
    return [f"{number:,}{share}" for number in most.per_class]


def _at_threshold(one: ByClass) -> dict[str, str]:
    decision = one.at_threshold
    return {
        "sensitivity at threshold": _estimate(decision.sensitivity) if decision else UNKNOWN_THRESHOLD,
        "specificity at threshold": _estimate(decision.specificity) if decision else UNKNOWN_THRESHOLD,
    }


def _table(title: str, rows: Sequence[Row], note: str) -> Table:
    return Table(
        title=title, columns=tuple(rows[0].texts), rows=tuple(rows), notes=(note,), group_name="block"
    )


def _block(block: Block) -> str:
    model, dataset, fraction = block
    return f"{model}, {dataset}, {format_fraction(fraction)}"


def _number(value: float) -> str:
    return MISSING if math.isnan(value) else f"{value:.3f}"


def _estimate(one: Estimate) -> str:
    if math.isnan(one.low):
        return _number(one.value)
    return f"{_number(one.value)} ({one.low:.3f} to {one.high:.3f})"
