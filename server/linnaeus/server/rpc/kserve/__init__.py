"""The KServe Open Inference Protocol v2 over the same engine: translates and decides nothing."""
