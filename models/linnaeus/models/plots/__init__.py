"""Plots, as matplotlib figures.

Figures are created without pyplot, so that no backend is selected and no global state remains. matplotlib takes longer
to import than most commands take to run: commands import these modules when they plot.
"""
