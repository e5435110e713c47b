"""The load generator: generator processes that send calls and record their outcomes."""
