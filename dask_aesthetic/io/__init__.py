"""Bytes to batches: storage, listing and layouts of files, and their rows as shards; no scores and no Dask."""
