"""The tables of a report that state how sure things are: rankings, pairs, paired tests, clinical scores."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from raypeft.analysis.metrics import direction_words, format_score, metric_label
from raypeft.analysis.questions.clinical import LEAST_CASES, SPECIFICITY, Clinical, SubgroupGap
from raypeft.analysis.questions.comparisons import Comparison
from raypeft.analysis.ranking.inference import Inference
from raypeft.analysis.ranking.verdict import format_p
from raypeft.analysis.read.scores import Block, format_fraction
from raypeft.analysis.report.plots.fraction import FractionPanel
from raypeft.analysis.report.tables import MISSING, UNLEARNED, Row, Table, plain_table, tie_rule
from raypeft.analysis.stats.paired import PairedTest
from raypeft.core.text import count


def ranking_table(one: Inference) -> Table:
    """Best mean rank first, with intervals, P(best) and tier."""
    most = max(m.n_blocks for m in one.methods)
    rows = [
        {
            "method": m.method,
            "mean rank": _number(m.mean_rank, 2)
            + ("" if m.n_blocks == most else f" ({m.n_blocks} of {most})"),
            "95% interval": _interval(m.rank_low, m.rank_high, 1),
            "P(best)": _number(m.p_best, 2),
            "tier": str(m.tier or MISSING),
            f"mean {metric_label(one.pool.metric)}": _score(m.mean_score)
            + ("" if one.pool.beats_reference(m.method) else f" ({UNLEARNED})"),
            "its 95% interval": _score_interval(m.score_low, m.score_high),
            "interquartile mean": _score(m.interquartile_mean),
        }
        for m in one.methods
    ]
    if reference := one.pool.reference:
        score = {f"mean {metric_label(one.pool.metric)}": _score(reference.score)}
        rows.append(dict.fromkeys(rows[0], MISSING) | {"method": reference.title} | score)
    allowed, num_blocks = ", ".join(one.levels) or "nothing", len(one.pool.blocks)
    return plain_table(
        f"Ranking: {one.pool.describe()}",
        rows,
        [
            f"Ranks by {metric_label(one.pool.metric)} ({direction_words(one.pool.metric)}) within "
            f"{f'each of {num_blocks} blocks' if num_blocks > 1 else 'one block'}, 1 is best, "
            f"{tie_rule(one.ties)}; intervals and P(best) allow for other {allowed}. Tier 1: tied with the "
            "best, not shown to be worse "
            + (
                "by Nemenyi's critical difference over data sets."
                if one.units > 1
                else "by these intervals (Bonferroni over methods); one data set says nothing of others."
            ),
        ],
    )


def pair_table(one: Inference) -> Table | None:
    """Every pair over data sets: difference, effect size, Wilcoxon, Holm; None with one data set."""
    if not one.pairs:
        return None
    names = one.pool.methods
    rows = [
        {
            "pair": f"{names[p.a]} - {names[p.b]}",
            "data sets": str(p.n),
            "difference": _signed(p.difference),
            "rank-biserial": _signed(p.rank_biserial, 2),
            "P(improvement)": _number(float(one.improvement[p.a, p.b]), 2),
            "p": format_p(p.p),
            "p, Holm": format_p(p.p_holm),
        }
        for p in sorted(one.pairs, key=lambda p: (p.p_holm, p.p, -abs(p.difference)))
    ]
    return plain_table(
        f"Pairs over data sets: {', '.join(one.pool.names)}",
        rows,
        [
            "Difference: of means over data sets (blocks of a data set averaged first), higher is better. "
            "Exact "
            "two-sided Wilcoxon signed-rank tests, Holm over all pairs. P(improvement): a run of the first "
            "beats "
            "one of the second on the same block.",
        ],
    )


def fraction_table(panels: Sequence[FractionPanel]) -> Table | None:
    """Where each method's lead over full tuning ends; None without full tuning at several fractions."""
    rows = [
        {
            "method": c.method,
            "model": panel.model,
            "data set": panel.dataset,
            "crossover": MISSING if math.isnan(c.fraction) else f"{100 * c.fraction:.2g}%",
            "95% interval": MISSING
            if math.isnan(c.fraction)
            else f"{100 * c.low:.2g}% to {100 * c.high:.2g}%",
            "replicates that cross": f"{100 * c.share_crossing:.0f}%",
            "images there": MISSING if math.isnan(c.n_train) else f"{c.n_train:,.0f}",
        }
        for panel in panels
        for c in panel.crossovers
    ]
    if not rows:
        return None
    return plain_table(
        "Crossover with full tuning",
        rows,
        [
            "With less data than at the crossover the method leads, with more full tuning does; linear in "
            "the log "
            "of the fraction between those that were run. A dash: no such crossing of the means. The "
            "interval is "
            "of the replicates (other seeds and test cases) that cross.",
        ],
    )


def comparison_sentence(found: Sequence[Comparison]) -> str:
    """How many comparisons hold after Holm's correction."""
    parts = []
    for name, tests in (
        ("macro F1", [(c.f1.difference, c.f1_p_holm) for c in found]),
        ("AUROC", [(c.auroc.difference, c.auroc_p_holm) for c in found if c.auroc]),
    ):
        better = sum(p < 0.05 and gap > 0 for gap, p in tests)
        worse = sum(p < 0.05 and gap < 0 for gap, p in tests)
        parts.append(f"by {name} {better} of {len(tests)} better and {worse} worse")
    references = ", ".join(sorted({c.reference for c in found}))
    return f"Shown to differ from {references} after Holm's correction: {'; '.join(parts)}."


def comparison_table(found: Sequence[Comparison]) -> Table:
    """Paired tests on the same test images, by block."""
    rows = [
        Row(
            group=_block(c.block),
            texts={
                "method": f"{c.method} - {c.reference}",
                "macro F1": _paired(c.f1),
                "p, F1": format_p(c.f1.p),
                "Holm, F1": format_p(c.f1_p_holm),
                "AUROC": _paired(c.auroc) if c.auroc else MISSING,
                "p, AUROC": format_p(c.auroc.p) if c.auroc else MISSING,
                "Holm, AUROC": format_p(c.auroc_p_holm),
                "test images": f"{c.test_cases:,}",
            },
        )
        for c in found
    ]
    return Table(
        title="Against full tuning, on the same test images",
        columns=tuple(rows[0].texts),
        rows=tuple(rows),
        notes=(
            "Differences of means over seeds, with 95% intervals. F1: paired bootstrap over test cases "
            "(patients "
            "whole) and seeds. AUROC: DeLong's test, for these trained models; one against the rest for "
            "more than "
            "two classes. Holm over all lines of a column.",
        ),
        group_name="block",
    )


def clinical_table(found: Mapping[Block, Mapping[str, Clinical]]) -> Table:
    """AUROC, balanced accuracy, calibration and sensitivity of every cell."""
    rows = []
    for block, cells in found.items():
        for method, c in sorted(cells.items()):
            worst = min(c.sensitivity, key=lambda name: _or(c.sensitivity[name], 2.0))
            rows.append(
                Row(
                    group=_block(block),
                    texts={
                        "method": method,
                        "AUROC": _number(c.scores.get("auroc", math.nan), 3),
                        "balanced accuracy": _number(c.scores["balanced_accuracy"], 3),
                        "ECE": _number(c.scores["ece"], 3),
                        "mean sensitivity": _number(
                            float(np.nanmean([*c.sensitivity.values(), np.nan]))
                            if any(not math.isnan(s) for s in c.sensitivity.values())
                            else math.nan,
                            3,
                        ),
                        "lowest sensitivity": f"{_number(c.sensitivity[worst], 3)} ({worst})",
                    },
                )
            )
    return Table(
        title="Clinical scores on test images",
        columns=tuple(rows[0].texts),
        rows=tuple(rows),
        notes=(
            "Means over seeds, from the stored predictions. ECE: expected calibration error over 15 bins, "
            "lower is "
            f"better. Sensitivity: of each class against all others at a specificity of {SPECIFICITY:.0%}, "
            "the "
            "threshold read off the test images; mean and lowest over classes.",
        ),
        group_name="block",
    )


def subgroup_table(found: Mapping[Block, Mapping[str, Sequence[SubgroupGap]]]) -> Table | None:
    """Gaps in balanced accuracy between subgroups; None where the manifest has no usable subgroup."""
    rows = []
    for block, cells in found.items():
        for method, gaps in sorted(cells.items()):
            for gap in gaps:
                groups = "; ".join(f"{name} {score:.3f} (n={n})" for name, (n, score) in gap.groups.items())
                rows.append(
                    Row(
                        group=_block(block),
                        texts={
                            "method": method,
                            "subgroup": gap.column,
                            "gap": f"{gap.gap:.3f} ({gap.low:+.3f} to {gap.high:+.3f})",
                            "p": format_p(gap.p),
                            "worst": gap.worst,
                            "best": gap.best,
                            "balanced accuracy": groups,
                            "left out": ", ".join(gap.left_out) or MISSING,
                        },
                    )
                )
    if not rows:
        return None
    return Table(
        title="Gaps between subgroups",
        columns=tuple(rows[0].texts),
        rows=tuple(rows),
        notes=(
            "Gap: balanced accuracy of the best minus that of the worst group, means over seeds; its "
            "interval redraws test cases of these two groups. p: share of random relabellings of patients, "
            "within classes, with as large a gap between any two groups; of "
            f"{count(len(rows), 'line')}, {0.05 * len(rows):.1f} would fall below 0.05 by chance. Left out: "
            f"fewer than {LEAST_CASES} test cases, or a class without one.",
        ),
        group_name="block",
    )


def _block(block: Block) -> str:
    model, dataset, fraction = block
    return f"{model}, {dataset}, {format_fraction(fraction)}"


def _number(value: float, digits: int) -> str:
    return MISSING if math.isnan(value) else f"{value:.{digits}f}"


def _score(value: float) -> str:
    return MISSING if math.isnan(value) else format_score(value)


def _score_interval(low: float, high: float) -> str:
    return MISSING if math.isnan(low) or math.isnan(high) else f"{format_score(low)} to {format_score(high)}"


def _signed(value: float, digits: int = 3) -> str:
    return MISSING if math.isnan(value) else f"{value:+.{digits}f}"


def _interval(low: float, high: float, digits: int) -> str:
    return MISSING if math.isnan(low) or math.isnan(high) else f"{low:.{digits}f} to {high:.{digits}f}"


def _paired(test: PairedTest) -> str:
    return f"{test.difference:+.3f} ({test.low:+.3f} to {test.high:+.3f})"


def _or(value: float, otherwise: float) -> float:
    return otherwise if math.isnan(value) else value
