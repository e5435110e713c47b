"""What a load test's results look like: figures in words, plots and one HTML page.

It takes `linnaeus.client.load.results` and nothing else; it must not know how calls are sent or where pages go.
"""
