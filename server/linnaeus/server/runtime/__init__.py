"""Models on devices: torch, no gRPC. What is served is loaded, checked, specialised, warmed up and run here."""

import warnings

# TorchScript is deprecated upstream but works, and it is what this project serves; this is the server's one place
# that silences it.
warnings.filterwarnings("ignore", message=r".*torch\.jit.*", category=FutureWarning)
