"""One measurement: constant load for a fixed time, its statistics, and the server's metrics meanwhile."""
