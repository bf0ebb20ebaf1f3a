#!/usr/bin/env python
"""How much data does a method need to overtake full tuning? Figure 1 of Dutt et al. (MIDL 2024).

Run: python analysis/figure1.py runs/data_fraction figures      draws into the folder `figures`

The figure prints no numbers. The text says that on ViT-Large LoRA overtakes full tuning at 80% of the data,
and BitFit below 20%.
"""

import sys
from pathlib import Path

from raypeft.analysis.report.plots.fraction import data_fraction, draw_fraction
from raypeft.analysis.report.plots.style import save, styles_of
from raypeft.analysis.report.render import show
from raypeft.analysis.report.sections import fraction_table
from raypeft.analysis.study import open_study


def main(source: str, folder: str = "figures") -> None:
    """Draw score against data fraction; print where each method crosses full tuning, with intervals."""
    for study in open_study(source):
        styles = styles_of(study.frame["method"].unique())
        for one in study.inferences:
            panels = data_fraction(study.frame, one.pool, one.replicates)
            show(fraction_table(panels))
            for panel in panels:
                show(*map(str, save(draw_fraction(panel, study.metric, styles), Path(folder))))


if __name__ == "__main__":
    main(*sys.argv[1:])
