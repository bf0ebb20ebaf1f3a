#!/usr/bin/env python
"""Which methods give the most for what they cost? Figure 3 of Dutt et al. (MIDL 2024), with intervals.

Run: python analysis/figure3.py runs/vit_grid figures      draws into the folder `figures`
     python analysis/figure3.py dutt2024:3                 the paper's scores by exact parameter counts
"""

import sys
from pathlib import Path

from raypeft.analysis.report.plots.cost import data_cost, draw_cost
from raypeft.analysis.report.plots.style import save, styles_of
from raypeft.analysis.report.render import show
from raypeft.analysis.study import open_study


def main(source: str = "dutt2024:3", folder: str = "figures") -> None:
    """Draw score against parameters, seconds, memory and adapter size, as far as the source has them."""
    for study in open_study(source):
        styles = styles_of(study.frame["method"].unique())
        for one in study.inferences:
            for drawing in draw_cost(data_cost(study.frame, one), one, styles):
                show(drawing.words, *map(str, save(drawing, Path(folder))))


if __name__ == "__main__":
    main(*sys.argv[1:])
