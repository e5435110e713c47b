"""Models on devices: loading, checks, specialisation, warm-up and runs. Uses torch; must not import gRPC."""

import warnings

# TorchScript is deprecated upstream but works, and this project serves it. The server silences the warnings only here.
warnings.filterwarnings("ignore", message=r".*torch\.jit.*", category=FutureWarning)
