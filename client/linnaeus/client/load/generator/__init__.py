"""The load generator: worker processes that send calls and record their outcomes."""
