"""The tables of a report that state how sure things are: rankings, pairs, paired tests."""

import itertools
import math
from collections.abc import Sequence

from raypeft.analysis.metrics import direction_words, format_score, metric_label
from raypeft.analysis.questions.comparisons import Comparison
from raypeft.analysis.ranking.caveats import extent
from raypeft.analysis.ranking.classical_words import format_p
from raypeft.analysis.ranking.gaps import difference_of, interval_of
from raypeft.analysis.ranking.inference import Inference
from raypeft.analysis.read.scores import Block, format_fraction
from raypeft.analysis.report.plots.fraction import FractionPanel
from raypeft.analysis.report.tables import MISSING, UNLEARNED, Row, Table, plain_table, tie_rule
from raypeft.analysis.stats.clusters import LEAST_UNITS
from raypeft.analysis.stats.paired import PairedTest

CANDIDATE = {True: "may be", False: "no", None: MISSING}
"""Whether a method may be the best, in a table."""


def ranking_table(one: Inference) -> Table:
    """Tabulate methods, best mean rank first: intervals, who may be the best, difference from the first."""
    pool, lead = one.pool, one.pool.methods.index(one.leader.method)
    most, score = len(pool.blocks), f"mean {metric_label(pool.metric)}"
    rows = []
    for m in one.methods:
        place = pool.methods.index(m.method)
        gap, (low, high) = difference_of(one, place, lead), interval_of(one, place, lead)
        rows.append(
            {
                "method": m.method,
                "mean rank": _number(m.mean_rank, 2)
                + ("" if m.n_blocks == most else f" ({m.n_blocks} of {most})"),
                "95% interval": _interval(m.rank_low, m.rank_high, 1),
                "the best?": "yes" if one.is_shown and place == lead else CANDIDATE[m.may_be_best],
                score: _score(m.mean_score) + ("" if pool.beats_reference(m.method) else f" ({UNLEARNED})"),
                f"difference from {one.leader.method}": MISSING if place == lead else _signed(gap),
                "its 95% interval": MISSING
                if place == lead or math.isnan(low)
                else f"{low:+.3f} to {high:+.3f}",
                "verdict": MISSING if place == lead else one.verdict(place, lead),
            }
        )
    if reference := pool.reference:
        rows.append(
            dict.fromkeys(rows[0], MISSING) | {"method": reference.title, score: _score(reference.score)}
        )
    return plain_table(f"Ranking: {pool.describe()}", rows, _ranking_notes(one))


def _ranking_notes(one: Inference) -> list[str]:
    num_blocks, metric = len(one.pool.blocks), one.pool.metric
    where = f"each of {num_blocks} blocks" if num_blocks > 1 else "one block"
    said = [
        f"Ranks by {metric_label(metric)} ({direction_words(metric)}) within {where}, 1 is best, "
        f"{tie_rule(one.ties)}. {extent(one)}"
    ]
    if one.levels:
        said.append(
            'The best? "yes": shown to be; "no": shown not to be; "may be": neither (95% for the whole list).'
            " Intervals of differences hold for all pairs at once (95%): a method may be out though no pair "
            "alone tells it from the first."
            + ("" if math.isnan(one.margin) else f" Equivalent: the interval lies within ±{one.margin:g}.")
        )
    return said


def pair_table(one: Inference) -> Table | None:
    """Tabulate every pair: difference, interval, verdict, Wilcoxon's p. None without any."""
    if not one.levels or len(one.methods) < 2:
        return None
    names, found = one.pool.methods, one.comparisons
    order = [names.index(m.method) for m in one.methods]
    rows = []
    for a, b in itertools.combinations(order, 2):
        low, high = interval_of(one, a, b)
        rows.append(
            {
                "pair": f"{names[a]} - {names[b]}",
                "data sets": f"{found.units[a, b]:.0f}",
                "difference": _signed(difference_of(one, a, b)),
                "95% interval": MISSING if math.isnan(low) else f"{low:+.3f} to {high:+.3f}",
                "the first is": one.verdict(a, b),
                "p": format_p(found.p[a, b]),
                "P(improvement)": _number(float(one.improvement[a, b]), 2),
                "p, Wilcoxon and Holm": format_p(one.wilcoxon[a, b]),
            }
        )
    return plain_table(
        f"All pairs: {', '.join(one.pool.names)}",
        rows,
        [
            "Difference: of means over data sets, blocks of a data set averaged first. Intervals and p hold "
            "for all pairs at once (Tukey-Kramer on moderated variances). P(improvement): a run of the first "
            "beats one of the second on the same block. Wilcoxon: exact signed-rank tests over data sets, to "
            "compare with other papers.",
        ],
    )


def fraction_table(panels: Sequence[FractionPanel]) -> Table | None:
    """Tabulate where each lead over full tuning ends; None without full tuning at several fractions."""
    rows = [
        {
            "method": c.method,
            "model": panel.model,
            "data set": panel.dataset,
            "crossover": MISSING if math.isnan(c.fraction) else _percent(c.fraction),
            "95% interval": MISSING if math.isnan(c.fraction) else f"{_percent(c.low)} to {_percent(c.high)}",
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
            "interval "
            "is of the replicates (other seeds and test cases) that cross.",
        ],
    )


def comparison_sentence(found: Sequence[Comparison]) -> str:
    """Say how many comparisons hold after Holm's correction."""
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
    """Tabulate paired tests on the same test images, by block."""
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


def _percent(share: float) -> str:
    """Two digits, three from 99.5% on."""
    return f"{100 * share:.{2 if share < 0.995 else 3}g}%"


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
