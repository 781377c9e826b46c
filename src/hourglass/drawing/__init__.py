"""Poses on pictures, plots, and diagrams of networks."""
