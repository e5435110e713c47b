# Generated from ../aio/connection.py by `make sync-client`. Do not edit.
"""A gRPC channel with the stubs of both services."""

import grpc

from linnaeus.client.config import ClientConfig
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub, ModelServiceStub


class Connection:
    """An open channel, which many calls share.

    Args:
        target: a gRPC target.
        config: the channel's options, and the credentials if the connection is encrypted.

    Attributes:
        classifier: the stub of ClassifierService.
        models: the stub of ModelService.
    """

    def __init__(self, target: str, config: ClientConfig) -> None:
        if config.credentials is None:
            self._channel = grpc.insecure_channel(target, options=config.channel_options)
        else:
            self._channel = grpc.secure_channel(target, config.credentials, options=config.channel_options)
        self.classifier = ClassifierServiceStub(self._channel)
        self.models = ModelServiceStub(self._channel)

    def close(self) -> None:
        """Closes the channel; calls in flight are cancelled. May be called twice."""
        self._channel.close()
