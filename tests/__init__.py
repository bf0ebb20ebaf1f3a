"""A package, so that no other distribution's `tests` (torch-fidelity installs one) stands in its place."""
