"""The published tables of Dutt et al. (MIDL 2024), shipped as data."""
