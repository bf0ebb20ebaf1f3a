"""Figures: a `data_x()` that makes the numbers and a `draw_x()` that only draws them."""
