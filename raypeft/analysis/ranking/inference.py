"""How sure a ranking is: tests, intervals, tiers, effect sizes, and what the run could have detected."""

import math
from dataclasses import dataclass

import numpy as np

from raypeft.analysis.metrics import metric_of
from raypeft.analysis.ranking.rank import Pool, Ties, dataset_ranks, dataset_scores, rank_table
from raypeft.analysis.ranking.resample import Replicates
from raypeft.analysis.stats.bootstrap import bootstrap_mean_ranks, draw_means, interval
from raypeft.analysis.stats.friedman import Friedman, Nemenyi, friedman, nemenyi, skillings_mack
from raypeft.analysis.stats.pairwise import (
    Pair,
    interquartile_mean,
    probability_of_improvement,
    wilcoxon_holm,
)
from raypeft.analysis.stats.power import (
    detectable_difference,
    reliability,
    seeds_for_reliability,
    seeds_to_separate,
    variance_components,
)

Array = np.ndarray
DRAWS = 4000
ALPHA = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class MethodRank:
    """One method's place, and how sure it is."""

    method: str
    mean_rank: float
    rank_low: float  # ends of the 95% interval; NaN, as p_best, where nothing could be drawn again
    rank_high: float
    p_best: float
    tier: int  # 1: tied with the best; 0: not known, or not placed
    n_blocks: int
    mean_score: float
    score_low: float
    score_high: float
    interquartile_mean: float  # over all runs


@dataclass(frozen=True, kw_only=True, slots=True)
class Omnibus:
    """Do the methods differ at all, over some unit; and which pairs do by Nemenyi."""

    unit: str  # "block" or "data set"
    methods: tuple[str, ...]
    mean_ranks: Array  # (methods,) over the units that hold every method
    friedman: Friedman
    nemenyi: Nemenyi
    left_out: int  # units that lack a method

    def separated(self, a: str, b: str) -> bool:
        """Whether Nemenyi's test separates two methods."""
        i, j = self.methods.index(a), self.methods.index(b)
        gap = abs(self.mean_ranks[i] - self.mean_ranks[j])
        return bool(gap > self.nemenyi.critical_difference)

    def separated_matrix(self) -> Array:
        """(methods, methods) of bool."""
        return np.array([[self.separated(a, b) for b in self.methods] for a in self.methods])


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedPlan:
    """What the seeds of a pool's blocks say; medians over blocks, in units of the score."""

    seed_sd: float
    method_sd: float  # of the true means
    seeds: int
    reliability: float  # of the order at that many seeds
    seeds_needed: int  # for a reliability of 0.9
    seeds_to_lead: int  # to show the first of a block better than the second, if the gap is as observed


@dataclass(frozen=True, kw_only=True, slots=True)
class Inference:
    """Everything that is claimed of one pool."""

    pool: Pool
    ties: Ties
    replicates: Replicates
    methods: tuple[MethodRank, ...]  # best mean rank first
    units: int
    levels: tuple[str, ...]  # what the intervals allow for: data sets, seeds, test cases
    omnibus: tuple[Omnibus, ...]  # over data sets, then over blocks; only where there are enough
    skillings_mack: tuple[float, int, float] | None  # chi2, df, p over blocks, where cells are missing
    pairs: tuple[Pair, ...]  # over data sets; positions in `pool.methods`
    improvement: Array  # (methods, methods): P(a run of the first beats one of the second)
    detectable: float  # mean score difference between two methods over data sets; median over pairs
    seed_plan: SeedPlan | None

    @property
    def leader(self) -> MethodRank:
        """Best mean rank of those that may be named first; of those placed where there are none."""
        return (self.contenders or self.placed)[0]

    @property
    def placed(self) -> tuple[MethodRank, ...]:
        """Those with a rank in as many blocks as any has: only their mean ranks compare."""
        return tuple(m for m in self.methods if m.n_blocks == self.methods[0].n_blocks)

    @property
    def contenders(self) -> tuple[MethodRank, ...]:
        """Those placed that beat what has learned nothing."""
        return tuple(m for m in self.placed if self.pool.beats_reference(m.method))

    @property
    def leaders(self) -> tuple[MethodRank, ...]:
        """The leader, and all with the same mean rank that may be named first; empty where none may."""
        return tuple(m for m in self.contenders if math.isclose(m.mean_rank, self.leader.mean_rank))

    @property
    def is_settled(self) -> bool:
        """Whether the leader is shown to be better than every other method that is placed."""
        return bool(self.leaders) and self.leader.tier == 1 and not self.tied and len(self.placed) > 1

    @property
    def tied(self) -> tuple[str, ...]:
        """Methods that the intervals do not separate from the leader, itself left out."""
        return tuple(m.method for m in self.methods if m.tier == 1 and m is not self.leader)

    def of(self, method: str) -> MethodRank:
        """Raises: KeyError for a method that took no part."""
        return {m.method: m for m in self.methods}[method]

    def over(self, unit: str) -> Omnibus | None:
        """The omnibus test over "block" or "data set"; None where there were too few."""
        return next((test for test in self.omnibus if test.unit == unit), None)


def infer(pool: Pool, replicates: Replicates, *, ties: Ties = "average", seed: int = 0) -> Inference:
    """`replicates`: replicate_cells', of this pool or of one that it is a part of.

    The same input gives the same answer. Raises: ConfigError for another tie rule.
    """
    ranks = pool.ranks(ties)
    order = [pool.methods.index(method) for method in rank_table(pool, ties).index]
    has_missing = bool(np.isnan(ranks).any())
    units = [("data set", dataset_ranks(pool))]
    if len(pool.blocks) > len(pool.datasets):
        units.append(("block", pool.ranks()))
    by_dataset = dataset_scores(pool)
    pairs = tuple(wilcoxon_holm(by_dataset)) if len(pool.datasets) > 1 else ()
    found = [test for unit, table in units if (test := _omnibus(unit, pool.methods, table))]
    return Inference(
        pool=pool,
        ties=ties,
        replicates=replicates,
        methods=_method_ranks(pool, ties, replicates, order, seed),
        units=len(pool.datasets),
        levels=(*(["data sets"] if len(pool.datasets) > 1 else []), *replicates.levels),
        omnibus=tuple(found),
        skillings_mack=skillings_mack(pool.ranks())
        if has_missing and len(pool.blocks) > 1 and len(pool.methods) > 2
        else None,
        pairs=pairs,
        improvement=_improvement(pool),
        detectable=_detectable(by_dataset),
        seed_plan=_seed_plan(pool),
    )


def _method_ranks(
    pool: Pool, ties: Ties, replicates: Replicates, order: list[int], seed: int
) -> tuple[MethodRank, ...]:
    table = rank_table(pool, ties).loc[list(pool.methods)]
    observed = table["mean_rank"].to_numpy()
    counts = table["n_blocks"].to_numpy()
    rng = np.random.default_rng(seed)
    boot = bootstrap_mean_ranks(
        observed, dataset_ranks(pool), replicates.ranks_by_dataset(pool, ties),
        placed=counts == counts.max(), draws=DRAWS, rng=rng,
    )  # fmt: skip
    scores = draw_means(replicates.scores_by_dataset(pool), draws=DRAWS, rng=rng)
    ends = np.stack(interval(pool.sign * scores, boot.units))
    ends = ends.clip(*metric_of(pool.metric).bounds)
    is_drawn = boot.units > 1 or bool(replicates.levels)
    found = []
    for index in order:
        method = pool.methods[index]
        runs = [x for b in pool.blocks if (c := pool.cells.get((b, method))) for x in c.scores]
        found.append(
            MethodRank(
                method=method,
                mean_rank=float(observed[index]),
                rank_low=float(boot.low[index]) if is_drawn else math.nan,
                rank_high=float(boot.high[index]) if is_drawn else math.nan,
                p_best=float(boot.p_best[index]) if is_drawn else math.nan,
                tier=int(boot.tiers[index]) if is_drawn else 0,
                n_blocks=int(counts[index]),
                mean_score=float(table["mean_score"].iloc[index]),
                score_low=float(ends[0, index]) if is_drawn else math.nan,
                score_high=float(ends[1, index]) if is_drawn else math.nan,
                interquartile_mean=interquartile_mean(np.array(runs)),
            )
        )
    return tuple(found)


def _omnibus(unit: str, methods: tuple[str, ...], ranks: Array) -> Omnibus | None:
    whole = ranks[~np.isnan(ranks).any(axis=1)]
    if len(whole) < 2 or len(methods) < 3:
        return None
    means = whole.mean(axis=0)
    return Omnibus(
        unit=unit,
        methods=methods,
        mean_ranks=means,
        friedman=friedman(whole),
        nemenyi=nemenyi(means, len(whole), alpha=ALPHA),
        left_out=len(ranks) - len(whole),
    )


def _improvement(pool: Pool) -> Array:
    runs = {
        method: [
            pool.sign * np.array(cell.scores if (cell := pool.cells.get((b, method))) else ())
            for b in pool.blocks
        ]
        for method in pool.methods
    }
    return np.array(
        [[probability_of_improvement(runs[a], runs[b]) for b in pool.methods] for a in pool.methods]
    )


def _detectable(scores: Array) -> float:
    """Median over pairs of what their spread over data sets lets a paired t-test see."""
    found = []
    for a in range(scores.shape[1]):
        for b in range(a):
            differences = scores[:, a] - scores[:, b]
            known = differences[~np.isnan(differences)]
            if len(known) > 1:
                found.append(detectable_difference(float(known.std(ddof=1)), len(known)))
    return float(np.median(found)) if found else math.nan


def _seed_plan(pool: Pool) -> SeedPlan | None:
    """None where no block has two methods with two seeds each."""
    found, seeds = [], 0
    for block in pool.blocks:
        cells = [cell for method in pool.methods if (cell := pool.cells.get((block, method)))]
        between, within = variance_components([np.array(cell.scores) for cell in cells])
        if not math.isnan(within):
            first, second = sorted((pool.sign * cell.mean for cell in cells if cell.n), reverse=True)[:2]
            found.append((between, within, seeds_to_separate(first - second, math.sqrt(within))))
            seeds = max(seeds, *(cell.n for cell in cells))
    if not found:
        return None
    between, within, to_lead = (float(np.median([row[i] for row in found])) for i in range(3))
    return SeedPlan(
        seed_sd=math.sqrt(within),
        method_sd=math.sqrt(between),
        seeds=seeds,
        reliability=reliability(between, within, seeds),
        seeds_needed=seeds_for_reliability(between, within),
        seeds_to_lead=math.ceil(to_lead),
    )
