"""Read results in notebooks and scripts: from stores, a CSV file or the published tables."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from raypeft.analysis.questions.choose import Wanted, choose_runs
from raypeft.analysis.ranking.caveats import caveats
from raypeft.analysis.ranking.verdict import headline
from raypeft.analysis.read.load import load_results, read_stores
from raypeft.analysis.report.page import lead, write_report
from raypeft.analysis.report.plots.ranks import draw_rank_intervals
from raypeft.analysis.report.plots.style import styles_of
from raypeft.analysis.study import Study, open_study
from raypeft.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from raypeft.analysis.ranking.rank import Ties
    from raypeft.train.predict import TrainedModel


class Ranking:
    """Methods in the order of their mean ranks, and how certain that order is. A notebook shows its table."""

    def __init__(self, studies: Sequence[Study]) -> None:
        """Rank each study; models that have no methods in common are ranked separately."""
        self._inferences = [one for study in studies for one in study.inferences]
        self._lead = [line for study in studies for line in lead(study)]

    @cached_property
    def table(self) -> pd.DataFrame:
        """Return one row per ranking and method, best mean rank first.

        Columns: models, metric, method, mean_rank, rank_low and rank_high (95% interval; NaN if nothing is
        repeated), may_be_best (False: shown not to be the best; None: nothing is repeated), p_candidate (the
        probability that no other method is better), n_blocks, mean_score, interquartile_mean, times_first (on
        how many data sets its mean is the best).
        """
        return pd.DataFrame(
            [
                {"models": ", ".join(one.pool.names), "metric": one.pool.metric} | asdict(method)
                for one in self._inferences
                for method in one.methods
            ]
        )

    @property
    def summary(self) -> str:
        """Return the answer and its certainty in sentences, one per line, as `raypeft rank` prints them."""
        return "\n".join([*self._lead, *(line for one in self._inferences for line in caveats(one))])

    def plot(self, index: int = 0) -> Figure:
        """Return a matplotlib figure of the mean ranks with 95% intervals; `index`: which ranking, from 0.

        Raises: IndexError if there is no such ranking.
        """
        one = self._inferences[index]
        return draw_rank_intervals(one, styles_of(one.pool.methods)).figure

    def _repr_html_(self) -> str:
        answer = html.escape(headline(self._inferences)) if self._inferences else "Nothing is finished yet."
        return f"<p>{answer}</p>{self.table.to_html(index=False, float_format='{:.3g}'.format)}"

    def __repr__(self) -> str:
        return f"{self.table.to_string(index=False)}\n{self.summary}" if self._inferences else self.summary


class Results:
    """The trials of one or several stores, and what follows from them. Each call reads the stores again."""

    def __init__(self, store: str | Path, *more: str | Path) -> None:
        """Open a store, and `more` stores to read together with it.

        Raises: ConfigError if a store does not exist, or if several contradict each other.
        """
        self.stores = tuple(Store.open(Path(one).expanduser()) for one in (store, *more))
        read_stores(*self.stores)

    @property
    def trials(self) -> pd.DataFrame:
        """Return one row per committed or failed trial, sorted by trial id.

        Columns: those of raypeft.Result, with one column per metric, e.g. "test/f1_macro" (NaN if a trial has
        none). `stage` is "search" or "final"; `status` is done, pruned, diverged or failed. `superseded`
        marks trials of an earlier, smaller search, which no table counts. `store` is where a trial is kept; a
        trial that is in several stores counts once.
        """
        return load_results(*self.stores)

    def rank(
        self,
        metric: str | None = None,
        *,
        ties: Ties = "average",
        higher_is_better: bool | None = None,
        margin: float | None = None,
    ) -> Ranking:
        """Rank the methods by `metric`; default: test macro F1, or FID if that is the only one.

        `ties`: the ranks that equal scores get: average, dense or min. `higher_is_better`: the direction of a
        metric that raypeft does not know. `margin`: scores that differ by less count as equally good; default
        0.01, for bounded metrics only.
        Raises: ConfigError for a metric that no trial has.
        """
        return Ranking(
            open_study(
                *self.stores, metric=metric, ties=ties, higher_is_better=higher_is_better, margin=margin
            )
        )

    def report(self, path: str | Path | None = None, *, against: str | None = None) -> Path:
        """Write one self-contained HTML file and return its path.

        `path`: default STORE/report.html; required for several stores. `against`: "dutt2024", "osu2024" or
        "vpetl2024" shows those published tables next to the results.
        """
        return write_report(self.stores, path, against=against)

    def load_model(
        self,
        *,
        method: str | None = None,
        model: str | None = None,
        dataset: str | None = None,
        fraction: float | None = None,
        seed: int | None = None,
    ) -> TrainedModel:
        """Load the model that a final run trained, to predict new images.

        Whatever is not given is chosen: the method that ranks first, the model with the best mean score, the
        largest fraction, the first seed.
        Raises: ConfigError if there is no such run, or if the store has several data sets and `dataset` is
        None.
        """
        from raypeft.train.predict import load_model  # torch takes seconds to import

        wanted = Wanted(method=method, model=model, dataset=dataset, fraction=fraction, seed=seed)
        (study,) = open_study(*self.stores)
        return load_model(study.adapter(choose_runs(study, wanted)[0].trial_id))

    def _repr_html_(self) -> str:
        return self.rank()._repr_html_()

    def __repr__(self) -> str:
        frame = self.trials
        counts = ", ".join(f"{number} {status}" for status, number in frame["status"].value_counts().items())
        where = ", ".join(repr(str(store)) for store in self.stores)
        return f"Results({where}): {counts or 'no trial yet'}"


def open_results(store: str | Path, *more: str | Path) -> Results:
    """Open the results of one store, or of several together.

    Raises: ConfigError if a store does not exist, or if several contradict each other.
    """
    return Results(store, *more)


def rank(
    source: str | Path,
    *more: str | Path,
    metric: str | None = None,
    ties: Ties = "average",
    higher_is_better: bool | None = None,
    margin: float | None = None,
) -> Ranking:
    """Rank the methods of a store, a long CSV file (model, dataset, method, scores) or "dutt2024:3".

    `more`: stores to read together with the first. `metric`: a column of scores. `ties`: the ranks that equal
    scores get: average, dense or min. `higher_is_better`: the direction of a metric that raypeft does not
    know; by default higher is assumed to be better, and the summary says so. `margin`: scores that differ by
    less count as equally good; default 0.01, for bounded metrics only.
    """
    return Ranking(
        open_study(source, *more, metric=metric, ties=ties, higher_is_better=higher_is_better, margin=margin)
    )
