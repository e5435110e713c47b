"""The attacks by name: what each of them sends, how much of it, and to which model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from benchmarks.attack.hostile_load import HostileLoad
from benchmarks.attack.image_bombs import BOMBS, webp_of_34_bytes
from benchmarks.attack.paced_calls import Message, PacedCalls
from benchmarks.attack.rapid_resets import RapidResets
from benchmarks.attack.raw_bodies import gzip_bomb, unfinished_bodies
from benchmarks.attack.slow_readers import SlowReaders
from benchmarks.common.images import FOLDER, digits
from benchmarks.overload.environment import LARGE_MODEL, SMALL_MODEL
from linnaeus.client.load.generator.unary_calls import SERVICE
from linnaeus.v1 import classifier_pb2 as v1

CLASSIFY, STREAM = SERVICE + "Classify", SERVICE + "StreamClassify"
_BOMBS_A_SECOND = 2.0
_SHORT_DEADLINE_SECONDS = 0.002
_CANCELLED_WITHIN_SECONDS = 0.050
_ID_CHARACTERS = 16_384


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack.

    Attributes:
        name: by which it is chosen.
        what: what is sent, in a few words.
        load: makes it, which may take seconds.
        without_token: whether the attacker has no token where the good callers have one.
    """

    name: str
    what: str
    load: Callable[[], HostileLoad]
    without_token: bool = False


def good_message() -> Message:
    """Returns the call of the good callers."""
    return Message(CLASSIFY, _classify(_photograph(), LARGE_MODEL, top_k=1))


def _photograph() -> bytes:
    return (FOLDER / "coffee.jpg").read_bytes()


def _digit() -> bytes:
    return digits()[0].read_bytes()


def _classify(image: bytes, model: str, top_k: int = 2, priority: v1.Priority = v1.PRIORITY_UNSPECIFIED) -> bytes:
    """Hostile calls ask for two classes, so that the control can tell them from good ones."""
    encoded = v1.Image(encoded=image)
    return v1.ClassifyRequest(image=encoded, model=model, top_k=top_k, priority=priority).SerializeToString()


def _webp(limit: int | None) -> HostileLoad:
    return PacedCalls(messages=_to_large_model(webp_of_34_bytes()), rate=1.0, limit=limit)


def _bombs(image_format: str) -> HostileLoad:
    return PacedCalls(messages=_to_large_model(*BOMBS[image_format]()), rate=_BOMBS_A_SECOND)


def _to_large_model(*images: bytes) -> tuple[Message, ...]:
    return tuple(Message(CLASSIFY, _classify(image, LARGE_MODEL)) for image in images)


def _short_deadlines() -> HostileLoad:
    message = Message(CLASSIFY, _classify(_digit(), SMALL_MODEL))
    return PacedCalls(messages=(message,), rate=500.0, deadline_seconds=_SHORT_DEADLINE_SECONDS)


def _high_priority() -> HostileLoad:
    message = Message(CLASSIFY, _classify(_photograph(), LARGE_MODEL, priority=v1.PRIORITY_HIGH))
    return PacedCalls(messages=(message,), rate=200.0)


def _malformed() -> HostileLoad:
    """No protobuf, a name that is no UTF-8, a cut message, and what is a message but no call that can be answered."""
    cut = _classify(_photograph(), LARGE_MODEL)[:1000]
    contents = (b"\xff" * 9, b"\x12\x02\xff\xfe", cut, b"", _classify(b"no image", LARGE_MODEL), _classify(b"", "x"))
    methods = (CLASSIFY, SERVICE + "ClassifyBatch", "/inference.GRPCInferenceService/ModelInfer", SERVICE + "Nothing")
    messages = tuple(Message(method, content) for content in contents for method in methods)
    return PacedCalls(messages=messages, rate=1000.0, deadline_seconds=5.0)


def _resets() -> HostileLoad:
    return RapidResets(Message(CLASSIFY, _classify(_digit(), LARGE_MODEL)), rate=2000.0)


def _slow_readers() -> HostileLoad:
    """The id comes back with each answer, so that few answers fill what gRPC holds of them."""
    image = v1.Image(encoded=_digit(), id="x" * _ID_CHARACTERS)
    content = v1.StreamClassifyRequest(image=image, model=SMALL_MODEL).SerializeToString()
    return SlowReaders(Message(STREAM, content), streams=32, read_seconds=0.5, most_messages=200)


def _cancel_storm() -> HostileLoad:
    message = Message(CLASSIFY, _classify(_photograph(), LARGE_MODEL))
    return PacedCalls(messages=(message,), rate=300.0, cancelled_within_seconds=_CANCELLED_WITHIN_SECONDS)


_ATTACKS = (
    Attack("webp-once", "a WebP of 34 bytes, 50 megapixels, once", partial(_webp, 1)),
    Attack("webp-each-second", "the same, 1 a second", partial(_webp, None)),
    *(
        Attack(f"bombs-{name}", f"{name.upper()} images that are costly to decode, 2 a second", partial(_bombs, name))
        for name in BOMBS
    ),
    Attack("short-deadlines", "deadlines of 2 ms on lenet, 500 a second", _short_deadlines),
    Attack("high-priority", "photographs of high priority without deadline, 200 a second", _high_priority),
    Attack("gzip", "messages of 0.4 MB that unfold to 400 MB, 1 a second", partial(gzip_bomb, CLASSIFY, 400, 1.0)),
    Attack(
        "large-bodies",
        "30 MB of a body that does not end, without a token, 10 a second",
        partial(unfinished_bodies, CLASSIFY, 30, 10.0),
        without_token=True,
    ),
    Attack("malformed", "malformed messages, 1,000 a second", _malformed),
    Attack("resets", "HTTP/2 streams that are reset at once, 2,000 a second", _resets),
    Attack(
        "slow-readers", "32 streams on lenet of 200 images each, which read 2 answers of 16 kB a second", _slow_readers
    ),
    Attack("cancel-storm", "photographs, 300 a second, each cancelled within 50 ms", _cancel_storm),
)
ATTACKS: Mapping[str, Attack] = {attack.name: attack for attack in _ATTACKS}
