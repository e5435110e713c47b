"""Inspects networks: their layers, costs, parameters and parts.

Everything here works on any `nn.Module` that maps float32 [N, C, H, W] to one tensor. It imports neither the zoo's
entries nor the command line.
"""
