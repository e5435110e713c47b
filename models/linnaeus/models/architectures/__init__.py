"""Networks as plain `torch.nn` modules: normalized float32 [N, C, H, W] in, logits [N, classes] out."""
