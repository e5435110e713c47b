"""`linnaeus-client models`: lists, loads and unloads models."""
