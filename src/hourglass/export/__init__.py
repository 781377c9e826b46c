"""Weights as files that other programs run: written, then held to what torch answers."""
