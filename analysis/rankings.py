#!/usr/bin/env python
"""Which method is best in any store, CSV file or published table, and how sure is that?

Run: python analysis/rankings.py runs/busi rankings      also draws each ranking into the folder `rankings`
     python analysis/rankings.py dutt2024                the four published tables
"""

import sys
from pathlib import Path

from raypeft.analysis.ranking.caveats import caveats
from raypeft.analysis.ranking.classical_words import classical_sentences
from raypeft.analysis.ranking.verdict import headline
from raypeft.analysis.report.plots.differences import draw_differences
from raypeft.analysis.report.plots.ranks import draw_rank_intervals
from raypeft.analysis.report.plots.style import save, styles_of
from raypeft.analysis.report.render import show
from raypeft.analysis.report.sections import ranking_table
from raypeft.analysis.study import open_study


def main(source: str = "dutt2024", folder: str | None = None) -> None:
    """Print the answer, mean ranks with intervals, and tests; draw them where a folder is named."""
    for study in open_study(source):
        styles = styles_of(study.frame["method"].unique())
        for one in study.inferences:
            show(headline([one]), ranking_table(one), *caveats(one), *classical_sentences(one))
            if folder is not None:
                for drawing in (draw_differences(one, styles), draw_rank_intervals(one, styles)):
                    show(*map(str, save(drawing, Path(folder))))


if __name__ == "__main__":
    main(*sys.argv[1:])
