"""Old name of core.skeleton, kept for who imports it."""

from hourglass.core.skeleton import *  # noqa: F403
