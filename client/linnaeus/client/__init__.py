"""The client of Linnaeus: classifies images.

    from linnaeus.client import Client

    with Client("localhost:8001") as client:
        result = client.classify("cat.jpg", model="efficientnet_lite0", top_k=5)
        print(result.top.label, result.top.probability)

`AsyncClient` is the same for asyncio. Every error is a `LinnaeusError`; `linnaeus.client.errors` has the hierarchy. The
package needs only grpcio and protobuf; it imports neither the server, nor numpy, nor Pillow.
"""

from linnaeus.client.aio.client import AsyncClient
from linnaeus.client.bulk.outcome import Outcome
from linnaeus.client.errors import (
    DeadlineExceeded,
    InvalidImage,
    InvalidRequest,
    LinnaeusError,
    ModelNotFound,
    ModelRefused,
    Overloaded,
    PermissionDenied,
    ServerFailure,
    Unauthenticated,
    Unavailable,
)
from linnaeus.client.images.image_source import ImageSource
from linnaeus.client.results import (
    Classification,
    ModelInfo,
    ModelInput,
    ModelSpecialisation,
    ModelState,
    ModelWeights,
    ScoredClass,
    Timings,
)
from linnaeus.client.sync.client import Client
from linnaeus.client.transport.hedging import HedgeCounts, Hedging
from linnaeus.client.transport.tls import Tls

__all__ = [
    "AsyncClient",
    "Classification",
    "Client",
    "DeadlineExceeded",
    "HedgeCounts",
    "Hedging",
    "ImageSource",
    "InvalidImage",
    "InvalidRequest",
    "LinnaeusError",
    "ModelInfo",
    "ModelInput",
    "ModelNotFound",
    "ModelRefused",
    "ModelSpecialisation",
    "ModelState",
    "ModelWeights",
    "Outcome",
    "Overloaded",
    "PermissionDenied",
    "ScoredClass",
    "ServerFailure",
    "Timings",
    "Tls",
    "Unauthenticated",
    "Unavailable",
]
