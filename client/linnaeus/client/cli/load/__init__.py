"""`linnaeus-client load`: the command line of the load tester, which is `linnaeus.client.load`."""
