"""Tables of publications, shipped as data: Dutt et al. (MIDL 2024), two collections of natural images."""
