"""Old name of synthetic.render, kept for who imports it."""

from hourglass.synthetic.render import *  # noqa: F403
