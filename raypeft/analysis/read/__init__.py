"""Read tables of scores from a store, a CSV file or stored predictions."""
