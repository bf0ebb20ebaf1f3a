"""The tables of a report that state how sure things are: rankings, pairs, paired tests."""

import math
from collections.abc import Sequence

from raypeft.analysis.metrics import direction_words, format_score, metric_label
from raypeft.analysis.questions.comparisons import Comparison
from raypeft.analysis.ranking.inference import Inference
from raypeft.analysis.ranking.verdict import format_p
from raypeft.analysis.read.scores import Block, format_fraction
from raypeft.analysis.report.plots.fraction import FractionPanel
from raypeft.analysis.report.tables import MISSING, UNLEARNED, Row, Table, plain_table, tie_rule
from raypeft.analysis.stats.clusters import LEAST_UNITS
from raypeft.analysis.stats.paired import PairedTest


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
        ("macro F1", [(c.f1.difference, c.f1_p_holm) for c in found if c.f1]),
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
                "macro F1": _paired(c.f1, c.statements),
                "p, F1": format_p(c.f1.p) if c.f1 else MISSING,
                "Holm, F1": format_p(c.f1_p_holm),
                "AUROC": _paired(c.auroc, c.statements),
                "p, AUROC": format_p(c.auroc.p) if c.auroc else MISSING,
                "Holm, AUROC": format_p(c.auroc_p_holm),
                "test images": f"{c.test_cases:,}",
            },
        )
        for c in found
    ]
    picked = (
        " Where full tuning did not run, the method with the best score stands in: Holm is then over all "
        "pairs of methods, and the intervals hold for all pairs of the block at once."
    )
    return Table(
        title=f"Against {_references(found)}, on the same test images",
        columns=tuple(rows[0].texts),
        rows=tuple(rows),
        notes=(
            "Differences of means over seeds, with 95% intervals, by Student's t. F1: other test cases "
            "(patients whole) and other seeds. AUROC: DeLong's test, for these trained models; one against "
            "the rest for more than two classes. Holm over all lines of a column. A dash: fewer than "
            f"{LEAST_UNITS} patients, for AUROC of any class, from which nothing can be said."
            + (picked if any(c.statements > 1 for c in found) else ""),
        ),
        group_name="block",
    )


def _references(found: Sequence[Comparison]) -> str:
    """What the title calls them."""
    if all(c.reference == "full" for c in found):
        return "full tuning"
    return "the best method" if all(c.statements > 1 for c in found) else "full tuning, or the best method"


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


def _paired(test: PairedTest | None, statements: int) -> str:
    if test is None:
        return MISSING
    low, high = test.interval(statements)
    return f"{test.difference:+.3f} ({low:+.3f} to {high:+.3f})"
