"""The load tester: it sends calls at set times or from so many callers, and tells what became of each.

It must not know how a server is made: what it says of the server it reads from its answers and its metrics.
"""
