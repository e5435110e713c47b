"""The ranges of numbers that are both settings of the server and keys of a model's config.toml, and of ports and times.

A bound lies where a larger number has no use and does harm: a batch that takes all memory at warm-up, a timer that no
clock can hold, a number that does not fit into the 32 bits of gRPC's options.
"""

from typing import Annotated

from pydantic import Field

# gRPC's options are 32-bit integers.
LARGEST_INT32 = 2**31 - 1
_SECONDS_OF_A_YEAR = 31_536_000
# Eight times what warm-up tries on a GPU. A batch of 1,024 images of 224 x 224 takes 154 MB before the model begins.
_LARGEST_BATCH = 1_024

BatchSize = Annotated[int, Field(ge=0, le=_LARGEST_BATCH)]
Images = Annotated[int, Field(ge=1, le=1_000_000)]
Threads = Annotated[int, Field(ge=0, le=1_024)]
Seconds = Annotated[float, Field(ge=0, le=_SECONDS_OF_A_YEAR)]
Bytes = Annotated[int, Field(ge=0, le=1 << 50)]
Factor = Annotated[float, Field(ge=0, le=1_000)]
Port = Annotated[int, Field(ge=0, le=65_535)]
