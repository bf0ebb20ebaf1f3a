"""What a ranking says, in sentences: the answer, its certainty, and what the tests separate."""

import math
from collections.abc import Sequence

from raypeft.analysis.metrics import format_score, metric_label
from raypeft.analysis.ranking.inference import Inference, Omnibus, infer
from raypeft.analysis.read.scores import format_fraction
from raypeft.analysis.stats.pairwise import smallest_wilcoxon_p
from raypeft.analysis.stats.power import MOST_SEEDS
from raypeft.core.text import count, listed


def headline(inferences: Sequence[Inference]) -> str:
    """The answer in one sentence with its certainty, one clause per ranking; "" while nothing is scored."""
    clauses = [_answer(one) for one in inferences]
    text = "; ".join(clauses)
    return text[:1].upper() + text[1:] + "." if text else ""


def extent(one: Inference) -> str:
    """What was compared, and what the intervals allow for."""
    blocks, units = len(one.pool.blocks), one.units
    where = f"{count(blocks, 'block')} (model x data set x fraction) on {count(units, 'data set')}"
    if not one.levels:
        return f"{where}. One run each on one data set: no interval can be given."
    text = f"{where}. Intervals and P(best) allow for other {listed(one.levels)}"
    if units == 1:
        return f"{text}: they say nothing of other data sets."
    return f"{text}."


def sentences(one: Inference) -> list[str]:
    """Of one ranking: what learned nothing, what the tests separate, what is missing, what could be seen."""
    return [*_unlearned(one), *_separations(one), *_missing(one), *_seeds(one)]


def by_fraction(one: Inference) -> list[tuple[str, Inference]]:
    """The ranking at each fraction of the training data, on what was run at several; empty without."""
    found: dict[tuple[str, str], set[float]] = {}
    for model, dataset, fraction in one.pool.blocks:
        found.setdefault((model, dataset), set()).add(fraction)
    several = [block for block in one.pool.blocks if len(found[block[:2]]) > 1]
    return [
        (
            format_fraction(fraction),
            infer(one.pool.only(b for b in several if b[2] == fraction), one.replicates, ties=one.ties),
        )
        for fraction in sorted({fraction for _, _, fraction in several})
    ]


def fraction_sentence(parts: Sequence[tuple[str, Inference]]) -> str:
    """Who leads at which fraction; "" without several."""
    named = [
        f"{name}: {listed([m.method for m in part.leaders])} ({_sureness(part)})"
        if part.leaders
        else f"{name}: none beats the {_reference_words(part)}"
        for name, part in parts
    ]
    return f"By share of the training data: {'; '.join(named)}." if named else ""


def nemenyi_sentence(test: Omnibus, leader: str) -> str:
    """From which methods Nemenyi's test separates `leader`."""
    others = [method for method in test.methods if method != leader]
    apart = [method for method in others if test.separated(leader, method)]
    joined = [method for method in others if method not in apart]
    start = (
        f"Nemenyi's test over {test.friedman.n_blocks} {test.unit}s "
        f"(critical difference {test.nemenyi.critical_difference:.2f})"
    )
    if not apart:
        return f"{start} separates {leader} from no other method."
    rest = f", and not from {listed(joined)}" if joined else ""
    return f"{start} separates {leader} from {listed(apart)}{rest}."


def friedman_sentence(test: Omnibus) -> str:
    """Whether the methods differ at all."""
    f = test.friedman
    ratio = "infinite" if math.isinf(f.f) else f"{f.f:.2f}"
    found = "differ" if f.p_permutation < 0.05 else "are not shown to differ"
    left_out = f"; {test.left_out} {test.unit}s lack a method and are left out" if test.left_out else ""
    return (
        f"Over {f.n_blocks} {test.unit}s the methods {found} (Friedman chi2 {f.chi2:.3f} on {f.df} degrees "
        f"of freedom, p {format_p(f.p)}, by permutation {format_p(f.p_permutation)}; Iman-Davenport F "
        f"{ratio}, p {format_p(f.f_p)}; Kendall's W {f.kendall_w:.2f}{left_out})."
    )


def format_p(p: float) -> str:
    """Two significant digits; never 0."""
    return "—" if math.isnan(p) else "< 1e-15" if p < 1e-15 else f"{p:.2g}"


def _answer(one: Inference) -> str:
    first = one.leaders
    if not first:
        best = format_score(max(one.placed, key=lambda m: one.pool.sign * m.mean_score).mean_score)
        return (
            f"on {one.pool.describe()}, no method beats the {_reference_words(one)}: nothing was learned, "
            f"and none is named first (best mean {best})"
        )
    scores = f"{metric_label(one.pool.metric)} {listed([format_score(m.mean_score) for m in first])}"
    rank = f"mean rank {one.leader.mean_rank:.2f} of {len(one.methods)}"
    if len(first) == 1 and not math.isnan(one.leader.rank_low):
        rank += f", 95% interval {one.leader.rank_low:.1f} to {one.leader.rank_high:.1f}"
    verb = "ranks first" if len(first) == 1 else "rank first together"
    names = listed([m.method for m in first])
    return f"on {one.pool.describe()}, {names} {verb} ({scores}, {rank}): {_sureness(one)}"


def _sureness(one: Inference) -> str:
    first = [m.method for m in one.leaders]
    tied = [method for method in one.tied if method not in first]
    if len(one.methods) == 1:
        return "nothing to compare it with"
    if len(one.placed) == 1:
        return "no other method was run on all the blocks that it has"
    if math.isnan(one.leader.p_best):
        return "how surely is not known, as neither data sets nor seeds repeat"
    share = f"P(best) {listed([f'{m.p_best:.2f}' for m in one.leaders])}"
    if one.is_settled:
        return f"shown to be best, {share}"
    others = "all others" if len(tied) == len(one.methods) - len(first) > 1 else listed(tied)
    return f"not settled, {share}" + (f", tied with {others}" if others else "")


def _reference_words(one: Inference) -> str:
    """ "majority class (macro F1 0.474)"."""
    reference = one.pool.reference
    assert reference is not None, "without a reference every method may be named first"
    return f"{reference.title} ({metric_label(one.pool.metric)} {format_score(reference.score)})"


def _unlearned(one: Inference) -> list[str]:
    said = []
    methods = [m.method for m in one.placed if m not in one.contenders]
    if methods and one.leaders:
        said.append(
            f"Not named first, as the mean score does not beat the {_reference_words(one)}: "
            f"{listed(methods)}."
        )
    if cells := one.pool.unlearned:
        names = [f"{c.method} on {c.model} / {c.dataset} / {c.fraction:g}" for c in cells]
        title = cells[0].reference.title if cells[0].reference else ""
        what = "whose mean does" if len(names) == 1 else "whose means do"
        said.append(f"{count(len(names), 'cell')} {what} not beat the {title}: {_first(names)}.")
    return said


def _separations(one: Inference) -> list[str]:
    said = []
    for test in one.omnibus:
        said += [friedman_sentence(test), nemenyi_sentence(test, one.leader.method)]
        if test.unit == "block":
            said.append("Encoders and fractions on one data set are no independent blocks: the tests over "
                        "blocks, which the paper's form calls for, are too sure.")  # fmt: skip
    smallest = smallest_wilcoxon_p(one.units)
    if one.units > 1 and smallest > 0.05:
        said.append(
            f"With {one.units} data sets no pairwise Wilcoxon test can fall below p = {smallest:.3g}: it "
            "cannot "
            "separate any two methods at 5%, whatever their scores."
        )
    if not math.isnan(one.detectable):
        said.append(
            f"Between two methods, a mean difference of {format_score(one.detectable)} in "
            f"{metric_label(one.pool.metric)} over "
            f"these {one.units} data sets would have been found with probability 0.8 (paired t-test, median "
            "over pairs)."
        )
    return said


def _missing(one: Inference) -> list[str]:
    said = []
    for of_one, of_many, keys in (
        ("has no finished final run", "have no finished final run", one.pool.missing),
        ("diverged and ranks last", "diverged and rank last", one.pool.diverged),
    ):
        names = [f"{method} on {model} / {data} / {fraction:g}" for (model, data, fraction), method in keys]
        if names:
            what = of_one if len(names) == 1 else of_many
            said.append(f"{count(len(names), 'cell')} {what}: {_first(names)}.")
    if partial := [m.method for m in one.methods if m.n_blocks and m not in one.placed]:
        said.append(
            f"Not placed, for want of ranks in some blocks: {listed(partial)}. A mean rank over other blocks "
            "compares with none."
        )
    if thin := one.pool.thin:
        names = [
            f"{c.method} on {c.model} / {c.dataset} / {c.fraction:g} (n={c.n}, {c.diverged} diverged)"
            for c in thin
        ]
        said.append(
            f"{count(len(thin), 'cell')} with fewer finished final runs than others; means are "
            f"over what is left: {_first(names)}."
        )
    if one.skillings_mack:
        statistic, df, p = one.skillings_mack
        said.append(
            f"With the missing cells allowed for, over all blocks: Skillings-Mack chi2 {statistic:.2f} on "
            f"{df} degrees "
            f"of freedom, p {format_p(p)}."
        )
    return said


def _first(names: Sequence[str]) -> str:
    """Six of them, and how many more there are."""
    return "; ".join(names[:6]) + (f"; and {len(names) - 6} more" if len(names) > 6 else "")


def _seeds(one: Inference) -> list[str]:
    plan = one.seed_plan
    if plan is None:
        return []
    methods, seeds = format_score(plan.method_sd), format_score(plan.seed_sd)
    return [
        f"Within a block, methods differ by a standard deviation of {methods} and seeds by {seeds} "
        f"(medians): with {plan.seeds} seeds, two such runs would agree on the order with a correlation of "
        f"{plan.reliability:.2f}. For 0.9 it takes {_count(plan.seeds_needed)}; to tell the first of a block "
        f"from the second, {_count(plan.seeds_to_lead)} per method."
    ]


def _count(seeds: int) -> str:
    return f"{MOST_SEEDS:,} seeds or more" if seeds >= MOST_SEEDS else count(seeds, "seed")
