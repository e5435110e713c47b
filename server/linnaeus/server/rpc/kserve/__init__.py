"""The KServe Open Inference Protocol v2, with some of Triton's extensions: translates to the same engine."""
