"""Weights: files, where they are found, networks loaded from them, confidences."""
