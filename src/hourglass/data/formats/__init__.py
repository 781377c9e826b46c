"""Annotation files, one reader a format."""
