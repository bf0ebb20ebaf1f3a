"""One source of images per file; splits, fractions and decoding are shared."""
