# Generated from ../aio/client.py by `make sync-client`. Do not edit.
"""The blocking client: its public methods. `calls.py` makes the calls."""

import os
from collections.abc import Generator, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Literal, Self

from linnaeus.client.bulk.batch import Batch
from linnaeus.client.bulk.concurrency_window import DEFAULT_CONCURRENCY, check_concurrency, check_images
from linnaeus.client.bulk.outcome import Outcome
from linnaeus.client.bulk.stream_messages import DEFAULT_STREAM_CONCURRENCY
from linnaeus.client.config import DEFAULT_TARGET, DEFAULT_TIMEOUT_SECONDS, LOAD_TIMEOUT_SECONDS, make_config
from linnaeus.client.errors import LinnaeusError
from linnaeus.client.images.image_source import ImageSource
from linnaeus.client.protocol import requests
from linnaeus.client.protocol.requests import RequestOptions
from linnaeus.client.protocol.responses import read_classification, read_listed_model, read_model, read_models
from linnaeus.client.results import Classification, ModelInfo
from linnaeus.client.sync.call_group import CallGroup
from linnaeus.client.sync.calls import Calls
from linnaeus.client.sync.many import Images, classify_many, folder_images
from linnaeus.client.sync.stream import classify_stream
from linnaeus.client.transport.hedging import HedgeCounts, Hedging
from linnaeus.client.transport.tls import Tls
from linnaeus.client.transport.tokens import read_token
from linnaeus.v1 import classifier_pb2 as messages


class Client:
    """Classifies images; every call blocks until its answer.

        with Client("localhost:8001") as client:
            result = client.classify("cat.jpg", model="efficientnet_lite0", top_k=5)
            print(result.top.label, result.top.probability)

    Invariants:
        - any thread may use the client;
        - the first call opens a connection to each server; see `connections` for further ones;
        - every call ends within its timeout, with an answer or a `LinnaeusError`;
        - a call that changes nothing is retried up to three times within its timeout if a server cannot be reached or
          stops, and as often if the server refuses it and says when to retry. Other failures are not retried;
        - a call that loads, unloads or chooses models is sent once;
        - a request that is too large is refused before it is sent.

    Args:
        target: `HOST:PORT`, any gRPC target such as `unix:/run/linnaeus.sock`, or several servers that take turns: a
            list of `HOST:PORT`, `dns:///NAME:PORT` for all addresses of a name, or `ipv4:A:PORT,B:PORT`. The names in
            a list are looked up once, at the first call; gRPC looks up a `dns:///NAME` again whenever it loses a
            server.
        timeout_seconds: the timeout of a call, its retries included. The server knows it and never runs a request that
            is late.
        max_message_bytes: the largest request, if that is less than what the server accepts. The server is asked for
            its limit before the first request above 1 MiB.
        tls: True for an encrypted connection to a server whose certificate gRPC's bundled authorities have signed, or
            a `Tls` value.
        token: sent as `authorization: Bearer TOKEN`; without `tls` only to this machine.
        token_file: a file that holds only the token, instead of `token`; read by the constructor.
        hedging: True, or a `Hedging` value: sends a second attempt if an answer is late; see there.
        connections: how many connections to each server calls at the same time may open, 1 to 64. "auto": one, and
            from the first call that overlaps another one on as many as the server tells, which is one unless it has
            several processes that answer. A call takes the connection with the fewest calls in flight; another one is
            opened if every one has a call in flight.

    Raises:
        ValueError: if an argument is out of range or contradicts another.
    """

    def __init__(
        self,
        target: str | Sequence[str] = DEFAULT_TARGET,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        max_message_bytes: int | None = None,
        tls: Tls | bool = False,
        token: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
        hedging: Hedging | bool = False,
        connections: Literal["auto"] | int = "auto",
    ) -> None:
        self._config = make_config(
            target,
            timeout_seconds=timeout_seconds,
            max_message_bytes=max_message_bytes,
            tls=tls,
            token=read_token(token, token_file),
            hedging=hedging,
            connections=connections,
        )
        self._calls = Calls(self._config)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes every connection; calls in flight end with an error. May be called twice."""
        self._calls.close()

    @property
    def hedges(self) -> HedgeCounts:
        """What hedging has done so far; zeros without hedging."""
        return self._config.hedges

    def classify(
        self,
        image: ImageSource,
        *,
        model: str = "",
        version: int | str | None = None,
        top_k: int = 0,
        min_probability: float = 0.0,
        features: bool = False,
        priority: str | None = None,
        timeout_seconds: float | None = None,
        image_id: str = "",
    ) -> Classification:
        """Classifies one image.

        Args:
            image: a path, a file's content, an open binary file, a Pillow image, or a uint8 array of shape [H, W],
                [H, W, 1], [H, W, 3] or [H, W, 4]. Do not modify it until the call returns.
            model: the model's name; may be omitted if the server has only one.
            version: a number or a label; None for the default version.
            top_k: the number of classes to return; 0 for the server's default, which is 5, but all with
                `min_probability`.
            min_probability: leaves out the classes that are less probable, between 0 and 1; there may be none left.
            features: whether to return what the model's last layer makes the classes of, as `Classification.features`;
                for versions that were exported with features.
            priority: "high", "normal" or "low", which matters to an overloaded server; None for normal.
            timeout_seconds: the timeout of this call, from when the image is read; None for the client's.
            image_id: returned with the answer.

        Raises:
            LinnaeusError: if there is no answer; `linnaeus.client.errors` lists the kinds.
        """
        request = self._build_request(
            image, RequestOptions(model, version, top_k, priority, min_probability, features), image_id
        )
        return read_classification(self._calls.classify(request, timeout_seconds))

    def models(self) -> tuple[ModelInfo, ...]:
        """Lists every model version that the server knows, refused ones included; without labels.

        Raises:
            LinnaeusError: if there is no answer.
        """
        response = self._calls.list_models(self._config.deadline(None))
        return read_models(response.models)

    def model(self, name: str, version: int | str | None = None) -> ModelInfo:
        """Describes one model version with its labels.

        Args:
            name: the model's name.
            version: a number or a label; None for the default version.

        Raises:
            ModelNotFound: if the server has no such model or version.
            LinnaeusError: if there is no answer for another reason.
        """
        request, deadline = requests.get_model_request(name, version), self._config.deadline(None)
        return read_model(self._calls.call(lambda connection: connection.classifier.GetModel, request, deadline))

    def load_model(self, model: str, *, timeout_seconds: float = LOAD_TIMEOUT_SECONDS) -> tuple[ModelInfo, ...]:
        """Makes the server load the versions of a model that it does not serve yet.

        The server loads them to the end even if the call times out.

        Returns:
            All versions of the model.

        Raises:
            ModelRefused: if a version was refused; versions that were served before are still served.
            ModelNotFound: if the repository has no such model.
            LinnaeusError: if there is no answer for another reason.
        """
        request, deadline = requests.load_model_request(model), self._config.deadline(timeout_seconds)
        response = self._calls.send(lambda connection: connection.models.LoadModel, request, deadline)
        return read_models(response.models)

    def reload_model(self, model: str, *, timeout_seconds: float = LOAD_TIMEOUT_SECONDS) -> tuple[ModelInfo, ...]:
        """Makes the server load a model anew beside the old one; returns when the new one answers the calls.

        Returns:
            All versions of the model.

        Raises:
            ModelRefused: if a version was refused; versions that were served before are still served.
            ModelNotFound: if the repository has no such model.
            LinnaeusError: if there is no answer for another reason.
        """
        request, deadline = requests.reload_model_request(model), self._config.deadline(timeout_seconds)
        response = self._calls.send(lambda connection: connection.models.ReloadModel, request, deadline)
        return read_models(response.models)

    def unload_model(
        self, model: str, version: int | str | None = None, *, timeout_seconds: float = LOAD_TIMEOUT_SECONDS
    ) -> tuple[ModelInfo, ...]:
        """Makes the server stop serving a version, or all versions if it is None; returns when their calls have ended.

        Returns:
            All versions of the model.

        Raises:
            ModelNotFound: if the server has no such model or version.
            LinnaeusError: if there is no answer for another reason.
        """
        request, deadline = requests.unload_model_request(model, version), self._config.deadline(timeout_seconds)
        response = self._calls.send(lambda connection: connection.models.UnloadModel, request, deadline)
        return read_models(response.models)

    def set_default_version(self, model: str, version: int | str | None = None) -> ModelInfo:
        """Sets the version that answers calls without a version; returns it.

        Args:
            model: the model's name.
            version: a number or a label; None for the version in the model's config.toml, or else the highest version
                that is ready.

        Raises:
            ModelNotFound: if that version is not served.
            LinnaeusError: if there is no answer for another reason.
        """
        request, deadline = requests.set_default_version_request(model, version), self._config.deadline(None)
        response = self._calls.send(lambda connection: connection.models.SetDefaultVersion, request, deadline)
        return read_listed_model(response.model)

    def classify_many(
        self,
        images: Images,
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        ordered: bool = True,
        model: str = "",
        version: int | str | None = None,
        top_k: int = 0,
        min_probability: float = 0.0,
        features: bool = False,
        priority: str | None = None,
        timeout_seconds: float | None = None,
    ) -> Generator[Outcome, None, None]:
        """Classifies many images, several at a time; an image that fails does not affect the others.

            for outcome in client.classify_many(Path("pictures").glob("*.jpg")):
                print(outcome.name, outcome.result.top.label if outcome.result else outcome.error)

        Invariants:
            - every image has one `Outcome` with an answer or an error; `Outcome.unwrap` raises the error;
            - at most `concurrency` images are read whose outcomes the caller has not taken, so memory is bounded
              however many there are; a caller that takes no outcomes stops the reading;
            - leaving the loop, or `close()`, cancels the calls in flight, at the server too;
            - an error raised by `images` itself is raised here, after the outcomes of the images before it.

        Args:
            images: images of any kind that `classify` takes, read in the caller's thread, between two outcomes.
            concurrency: the maximum number of images in flight.
            ordered: True for outcomes in the order of the images, False for outcomes as they come.
            model: the model's name; may be omitted if the server has only one.
            version: a number or a label; None for the default version.
            top_k: the number of classes to return; 0 for the server's default, which is 5, but all with
                `min_probability`.
            min_probability: leaves out the classes that are less probable, between 0 and 1; there may be none left.
            features: whether to return what the model's last layer makes the classes of, as `Classification.features`;
                for versions that were exported with features.
            priority: "high", "normal" or "low", which matters to an overloaded server; None for normal.
            timeout_seconds: the timeout of each image; None for the client's.

        Raises:
            ValueError: if `concurrency` or `timeout_seconds` is out of range.
            TypeError: if `images` is a single image or not iterable.
        """
        self._config.call_timeout(timeout_seconds)
        check_concurrency(concurrency)
        options = RequestOptions(model, version, top_k, priority, min_probability, features)

        def classify(image: ImageSource, calls: CallGroup) -> Classification:
            request = self._build_request(image, options)
            return read_classification(self._calls.classify(request, timeout_seconds, calls))

        return classify_many(check_images(images), classify, concurrency=concurrency, ordered=ordered)

    def classify_batch(
        self,
        images: Iterable[ImageSource],
        *,
        model: str = "",
        version: int | str | None = None,
        top_k: int = 0,
        min_probability: float = 0.0,
        features: bool = False,
        priority: str | None = None,
        timeout_seconds: float | None = None,
    ) -> list[Outcome]:
        """Classifies many images in as few calls as possible; an image that fails does not affect the others.

            for outcome in client.classify_batch(paths, model="lenet"):
                print(outcome.name, outcome.result.top.label if outcome.result else outcome.error)

        For small images and fast models, most of a call's cost is the call itself: one call with 32 images takes a
        fraction of the time of 32 calls. All answers come at once; for an unbounded number of images see
        `classify_stream`.

        Invariants:
            - every image has one `Outcome`, in the order of the images; if a call fails, all its images have its error;
            - an image that was answered is never sent again; one that the server refused is retried like any call.

        Args:
            images: images of any kind that `classify` takes; read call by call.
            model: the model's name; may be omitted if the server has only one.
            version: a number or a label; None for the default version.
            top_k: the number of classes to return; 0 for the server's default, which is 5, but all with
                `min_probability`.
            min_probability: leaves out the classes that are less probable, between 0 and 1; there may be none left.
            features: whether to return what the model's last layer makes the classes of, as `Classification.features`;
                for versions that were exported with features.
            priority: "high", "normal" or "low", which matters to an overloaded server; None for normal.
            timeout_seconds: the timeout of all calls together; None for the client's.

        Raises:
            ValueError: if `timeout_seconds` is out of range.
            TypeError: if `images` is a single image or not iterable.
        """
        deadline = self._config.deadline(timeout_seconds)
        options = RequestOptions(model, version, top_k, priority, min_probability, features)
        batch = Batch(self._config, check_images(images), options, deadline)
        self._calls.prefetch_limits(deadline)
        while (request := batch.next_request()) is not None:
            self._calls.group.pause(batch.delay_seconds)
            try:
                batch.handle_response(
                    self._calls.send(lambda connection: connection.classifier.ClassifyBatch, request, deadline)
                )
            except LinnaeusError as error:
                batch.handle_error(error)
        return batch.outcomes

    def classify_stream(
        self,
        images: Images,
        *,
        concurrency: int = DEFAULT_STREAM_CONCURRENCY,
        ordered: bool = True,
        model: str = "",
        version: int | str | None = None,
        top_k: int = 0,
        min_probability: float = 0.0,
        features: bool = False,
        priority: str | None = None,
        timeout_seconds: float | None = None,
    ) -> Generator[Outcome, None, None]:
        """Classifies many images over one call; an image that fails does not affect the others.

        Like `classify_many`, but all images go to one server over one stream. With as many images in flight that is
        about as quick as a call for each; for small images and fast models `classify_batch` is two to three times as
        quick. If that server stops or is lost, the images without an answer are sent to another one, provided that the
        stream had answered any before.

        Invariants:
            - those of `classify_many`, but images are not hedged, and an image that is refused because the queue is
              full is not retried.

        Args:
            images: images of any kind that `classify` takes, read in the caller's thread, between two outcomes.
            concurrency: the maximum number of images in flight; the server accepts as many as its `stream_window`.
            ordered: True for outcomes in the order of the images, False for outcomes as they come.
            model: the model's name; may be omitted if the server has only one.
            version: a number or a label; None for the default version.
            top_k: the number of classes to return; 0 for the server's default, which is 5, but all with
                `min_probability`.
            min_probability: leaves out the classes that are less probable, between 0 and 1; there may be none left.
            features: whether to return what the model's last layer makes the classes of, as `Classification.features`;
                for versions that were exported with features.
            priority: "high", "normal" or "low", which matters to an overloaded server; None for normal.
            timeout_seconds: the timeout of each image; None for the client's.

        Raises:
            ValueError: if `concurrency` or `timeout_seconds` is out of range.
            TypeError: if `images` is a single image or not iterable.
        """
        seconds = self._config.call_timeout(timeout_seconds)
        check_concurrency(concurrency)
        options = RequestOptions(model, version, top_k, priority, min_probability, features)

        def build(image: ImageSource) -> messages.ClassifyRequest:
            request = self._build_request(image, options)
            self._calls.check_server_limit(request, self._config.deadline(seconds))
            return request

        return classify_stream(
            check_images(images),
            build,
            self._calls.connection,
            self._config,
            concurrency=concurrency,
            ordered=ordered,
            timeout_seconds=seconds,
        )

    def classify_folder(
        self,
        folder: str | os.PathLike[str],
        *,
        recursive: bool = False,
        pattern: str | None = None,
        concurrency: int = DEFAULT_CONCURRENCY,
        ordered: bool = True,
        model: str = "",
        version: int | str | None = None,
        top_k: int = 0,
        min_probability: float = 0.0,
        features: bool = False,
        priority: str | None = None,
        timeout_seconds: float | None = None,
    ) -> Generator[Outcome, None, None]:
        """Classifies the images of a folder as `classify_many` does; `Outcome.source` is the path.

        Args:
            folder: the folder's path. Hidden files and folders are ignored.
            recursive: whether to include subfolders.
            pattern: such as `IMG_*.jpg`, matched against the file's name; None for every file with the suffix of an
                image: bmp, gif, jpeg, jpg, png or webp.
            concurrency: the maximum number of images in flight.
            ordered: True for outcomes sorted by path, False for outcomes as they come.
            model: the model's name; may be omitted if the server has only one.
            version: a number or a label; None for the default version.
            top_k: the number of classes to return; 0 for the server's default, which is 5, but all with
                `min_probability`.
            min_probability: leaves out the classes that are less probable, between 0 and 1; there may be none left.
            features: whether to return what the model's last layer makes the classes of, as `Classification.features`;
                for versions that were exported with features.
            priority: "high", "normal" or "low", which matters to an overloaded server; None for normal.
            timeout_seconds: the timeout of each image; None for the client's.

        Raises:
            ValueError: if `concurrency` or `timeout_seconds` is out of range.
            InvalidImage: if the folder is missing or holds no image.
        """
        return self.classify_many(
            folder_images(folder, recursive=recursive, pattern=pattern),
            concurrency=concurrency,
            ordered=ordered,
            model=model,
            version=version,
            top_k=top_k,
            min_probability=min_probability,
            features=features,
            priority=priority,
            timeout_seconds=timeout_seconds,
        )

    def _build_request(
        self, image: ImageSource, options: RequestOptions, image_id: str = ""
    ) -> messages.ClassifyRequest:
        """Reads and converts the image."""
        limit_bytes = self._config.limit.bytes
        build = partial(requests.classify_request, image, options, image_id=image_id, limit_bytes=limit_bytes)
        return build()
