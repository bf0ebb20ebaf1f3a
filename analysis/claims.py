#!/usr/bin/env python
"""Do these runs support what the paper claims? The claims of Dutt et al. (MIDL 2024), abstract and section 4.

Run: python analysis/claims.py runs/vit_grid     a store or a CSV file
     python analysis/claims.py                   the paper's own tables
"""

import sys

from raypeft.analysis.questions.claims import check_claims
from raypeft.analysis.report.render import show
from raypeft.analysis.study import open_study


def main(source: str = "dutt2024") -> None:
    """Print each claim, whether the runs support or contradict it or cannot tell, and why."""
    for claim in check_claims(open_study(source)):
        show(f"{claim.claim}: {claim.verdict}", f"  {claim.because}")


if __name__ == "__main__":
    main(*sys.argv[1:])
