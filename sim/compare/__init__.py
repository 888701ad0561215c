"""The model held against reality: published tables, this host, programs on it."""
