"""Results as tables, sentences, plots and HTML pages.

Takes `linnaeus.client.load.results` and returns text; does not know how calls are sent or where pages are written.
"""
