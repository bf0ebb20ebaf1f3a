"""From a store, a CSV file or stored predictions to tables of scores."""
