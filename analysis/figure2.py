#!/usr/bin/env python
"""What do generated images look like, method by method? Figure 2 of Dutt et al. (MIDL 2024).

Run: python analysis/figure2.py runs/diffusion_grid figures      draws into the folder `figures`
"""

import sys
from pathlib import Path

from raypeft.analysis.report.plots.samples import data_samples, draw_samples
from raypeft.analysis.report.plots.style import save
from raypeft.analysis.report.render import show
from raypeft.analysis.study import open_study


def main(store: str, folder: str = "figures") -> None:
    """Draw real images, then samples for the same prompts, the method of the best mean score on top."""
    (study,) = open_study(store)
    for one in study.inferences:
        for drawing in draw_samples(data_samples(study.frame, one.pool, study.read.stores), one.pool):
            show(*map(str, save(drawing, Path(folder))))


if __name__ == "__main__":
    main(*sys.argv[1:])
