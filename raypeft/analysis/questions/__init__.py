"""What is asked of a ranking: the claims of the paper, clinical scores, advice."""
