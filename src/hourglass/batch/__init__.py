"""Batch inference on Ray Data: very many pictures in, one row of Parquet for each person out."""
