"""Questions about a ranking: the claims of the paper, clinical scores, advice."""
