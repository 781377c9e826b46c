"""Files of predictions and truth, scored under named protocols."""
