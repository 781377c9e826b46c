"""People to predictions to scores."""
