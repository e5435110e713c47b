"""The load tester: sends calls at set times or from a number of callers, and measures what becomes of each.

Folders, from the top down: `report` shows results, `analysis` draws conclusions from them, `measurement` runs and
counts, `generator` sends. What it knows of a server comes from the server's answers and metrics.
"""
