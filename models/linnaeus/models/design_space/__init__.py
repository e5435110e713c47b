"""Design spaces (source document 003): small networks are sampled, trained briefly, and compared.

Radosavovic et al., "Designing Network Design Spaces", 2020, compare spaces by the empirical distribution function of
their networks' errors. Here the networks are small and the data is MNIST.
"""
