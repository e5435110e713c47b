"""Weights for the networks of the zoo: bundled, downloaded, from a file, or random.

This folder also has the bundled weights of LeNet and LeNet-5 (`*.pt`) and the records of their trainings (`*.json`).
"""
