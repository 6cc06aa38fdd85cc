"""A bucket is a home directory for Jupyter: a ContentsManager for object stores and local directories."""
