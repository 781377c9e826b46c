"""The page's own part when a server answers it."""
