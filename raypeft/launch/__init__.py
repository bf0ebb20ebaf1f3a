"""Many trials on many machines: the only room with Ray, Optuna and MLflow."""
