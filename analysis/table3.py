#!/usr/bin/env python
"""Which method is best on ViTs of three sizes? Table 3 of Dutt et al. (MIDL 2024).

Run: python analysis/table3.py runs/vit_grid    the same cells beside the paper's
     python analysis/table3.py                  the paper's own table, with the tests that it lacks
"""

import sys

from raypeft.analysis.published.tables import load_published
from raypeft.analysis.questions.against import cells_against
from raypeft.analysis.ranking.caveats import caveats
from raypeft.analysis.ranking.classical_words import classical_sentences
from raypeft.analysis.ranking.verdict import headline
from raypeft.analysis.report.render import show
from raypeft.analysis.report.sections import ranking_table
from raypeft.analysis.report.tables import score_table
from raypeft.analysis.study import open_study

PAPER = "dutt2024:3"


def main(source: str = PAPER) -> None:
    """Print scores and mean ranks (ties averaged, as the paper's), their certainty, and the paper's cells."""
    for study in open_study(source, ties="average"):
        show(score_table(study.frame, study.metric, study.ties, superseded=study.superseded))
        for one in study.inferences:
            show(headline([one]), ranking_table(one), *caveats(one), *classical_sentences(one))
        if source != PAPER:
            show(cells_against(study.frame, study.metric, load_published()))


if __name__ == "__main__":
    main(*sys.argv[1:])
