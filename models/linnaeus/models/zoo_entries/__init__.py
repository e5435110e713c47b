"""The entries of the zoo, one module per group of networks; `registry` collects them."""
