"""Records to crops to batches."""
