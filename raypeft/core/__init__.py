"""The shared types: cells, trials, sweeps, results, errors and registries. Standard library only."""
