"""Crops of whole data sets in one file or in shards."""
