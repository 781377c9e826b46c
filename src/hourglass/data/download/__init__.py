"""Data sets by name: where they come from, fetched, unpacked and checked."""
