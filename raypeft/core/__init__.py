"""The nouns: cells, trials, sweeps, results, errors and registries. Standard library only."""
