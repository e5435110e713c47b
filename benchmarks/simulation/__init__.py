"""Discrete-event simulation of one machine, or of many behind load balancers, with the server's own batch queue.

Admission, estimates, deadlines and batching are the code that serves (`linnaeus.server.scheduling`). Simulated are the
clock, the time that batches and decoding take, the callers, the balancers and the network.
"""
