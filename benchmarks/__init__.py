"""Benchmarks of the server, each run from the repository's root by a target of the Makefile.

serving      make bench, make bench-many: throughput, latency and processor time against the same model in-process
overload     make bench-overload: deadlines, cancellation, mixed load and faults beyond the server's capacity
attack       make attack: what hostile callers take from good ones, and what they leave behind
front_ends   make bench-front-ends, make bench-stages: an engine with front ends, against one process and by stage
peers        make bench-peers: the same requests to NVIDIA's tritonserver
stability    make bench-reload, make soak: failed calls and growth over hundreds of reloads, and over a quarter hour
inference    models without the server: on a GPU, in bfloat16, in-process
decoding     JPEG decoders against one another
common       load generators, measurements of processes, reports
"""
