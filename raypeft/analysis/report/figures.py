"""All figures of a study, in the order of the report."""

from dataclasses import dataclass, field

from raypeft.analysis.report.facts import search_objective
from raypeft.analysis.report.plots.cases import draw_confusion, draw_reliability
from raypeft.analysis.report.plots.cost import data_cost, draw_cost
from raypeft.analysis.report.plots.differences import draw_differences
from raypeft.analysis.report.plots.fraction import FractionPanel, data_fraction, draw_fraction
from raypeft.analysis.report.plots.ranks import (
    draw_performance_profile,
    draw_rank_diagram,
    draw_rank_intervals,
)
from raypeft.analysis.report.plots.samples import data_samples, draw_samples
from raypeft.analysis.report.plots.search import data_search, draw_search
from raypeft.analysis.report.plots.style import Drawing, styles_of
from raypeft.analysis.study import Study


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Drawings by section, and the numbers behind Figure 1."""

    differences: list[Drawing] = field(default_factory=list)
    ranks: list[Drawing] = field(default_factory=list)
    profiles: list[Drawing] = field(default_factory=list)
    fractions: list[Drawing] = field(default_factory=list)
    fraction_panels: list[FractionPanel] = field(default_factory=list)
    samples: list[Drawing] = field(default_factory=list)
    costs: list[Drawing] = field(default_factory=list)
    search: list[Drawing] = field(default_factory=list)
    reliability: list[Drawing] = field(default_factory=list)
    confusion: list[Drawing] = field(default_factory=list)

    def all(self) -> list[Drawing]:
        """Return every drawing."""
        return [
            *self.differences, *self.ranks, *self.profiles, *self.fractions, *self.samples, *self.costs,
            *self.search, *self.reliability, *self.confusion,
        ]  # fmt: skip


def draw_study(study: Study) -> Figures:
    """Draw a study of stores; a method keeps its colour, marker and dash in all figures."""
    styles = styles_of(map(str, study.frame["method"].unique()))
    figures = Figures()
    for one in study.inferences:
        if len(one.methods) > 1:
            figures.differences.append(draw_differences(one, styles))
            figures.ranks.extend([draw_rank_intervals(one, styles), draw_rank_diagram(one)])
    for one in study.own_rankings:
        figures.profiles.append(draw_performance_profile(one, styles))
        panels = data_fraction(study.frame, one.pool, one.replicates)
        figures.fraction_panels.extend(panels)
        figures.fractions.extend(draw_fraction(panel, study.metric, styles) for panel in panels)
        figures.samples.extend(draw_samples(data_samples(study.frame, one.pool, study.read.stores), one.pool))
        figures.costs.extend(draw_cost(data_cost(study.frame, one), one, styles))
    objective = search_objective(study.frame)
    for block, cells in data_search(study.frame, objective).items():
        figures.search.append(draw_search(block, cells, objective, styles))
    for block, found in study.clinical.items():
        figures.reliability.append(draw_reliability(block, found, styles))
        figures.confusion.append(draw_confusion(block, found))
    return figures
