"""A folder for any static host: the page, and the network that runs in its visitor's browser."""

from hourglass.web.browser.write import write_web

__all__ = ["write_web"]
