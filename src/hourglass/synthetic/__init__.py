"""Rendered people with exact joints."""
