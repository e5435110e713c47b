"""Networks as plain `torch.nn` modules: float32 [N, C, H, W], normalised, to logits [N, classes]."""
