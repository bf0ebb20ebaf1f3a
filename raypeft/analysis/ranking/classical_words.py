"""What Friedman's, Nemenyi's and Wilcoxon's tests find, in sentences."""

import math

from raypeft.analysis.ranking.classical import Omnibus
from raypeft.analysis.ranking.inference import Inference
from raypeft.analysis.stats.moderated import ALPHA
from raypeft.analysis.stats.pairwise import smallest_wilcoxon_p
from raypeft.core.text import count, listed


def nemenyi_sentence(test: Omnibus, leader: str) -> str:
    """Say from which methods Nemenyi's test separates `leader`."""
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
    """Say whether the methods differ at all."""
    f = test.friedman
    ratio = "infinite" if math.isinf(f.f) else f"{f.f:.2f}"
    found = "differ" if f.p_permutation < ALPHA else "are not shown to differ"
    left_out = f"; {count(test.left_out, test.unit)} without some method left out" if test.left_out else ""
    return (
        f"Over {f.n_blocks} {test.unit}s the methods {found} (Friedman chi2 {f.chi2:.3f} on {f.df} degrees "
        f"of freedom, p {format_p(f.p)}, by permutation {format_p(f.p_permutation)}; Iman-Davenport F "
        f"{ratio}, p {format_p(f.f_p)}; Kendall's W {f.kendall_w:.2f}{left_out})."
    )


def format_p(p: float) -> str:
    """Format a p-value with two significant digits; never as 0."""
    return "—" if math.isnan(p) else "< 1e-9" if p < 1e-9 else f"{p:.2g}"


def classical_sentences(one: Inference) -> list[str]:
    """Say what the tests that other papers report find; the answer does not rest on them."""
    said = [
        text
        for test in one.omnibus
        for text in (friedman_sentence(test), nemenyi_sentence(test, one.leader.method))
    ]
    if len(one.omnibus) > 1:
        said.append(
            "Encoders and fractions on one data set are no independent blocks: the tests over blocks, which "
            "the paper's form calls for, are too sure."
        )
    if one.skillings_mack:
        statistic, df, p = one.skillings_mack
        said.append(
            f"With the missing cells allowed for, over all blocks: Skillings-Mack chi2 {statistic:.2f} on "
            f"{df} degrees of freedom, p {format_p(p)}."
        )
    smallest = smallest_wilcoxon_p(one.units)
    if one.units > 1 and smallest > ALPHA:
        said.append(
            f"With {one.units} data sets no pairwise Wilcoxon test can fall below p = {smallest:.3g}, "
            "whatever the scores."
        )
    return said
