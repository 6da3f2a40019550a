"""The adapters, one for each engine: what the pipeline needs of it beyond its command line."""
