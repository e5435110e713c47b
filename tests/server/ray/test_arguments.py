"""An application's arguments are the server's settings, and win over the environment."""

import pytest

from linnaeus.ray.arguments import replica_settings, with_cores
from linnaeus.server.errors import StartupError


def test_arguments_win_over_the_environment_and_both_may_be_text() -> None:
    environment = {"LINNAEUS_STREAMS": "3", "LINNAEUS_MAX_BATCH_SIZE": "8", "LINNAEUS_FRONT_ENDS": "4", "HOME": "/"}
    settings = replica_settings({"repository": "/models", "max_batch_size": 4, "insecure": True}, environment)
    assert (settings.repository, settings.max_batch_size, settings.streams) == ("/models", 4, 3)
    assert (settings.insecure, settings.front_ends, settings.http_port) == (True, 0, -1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"repositry": "x"}, "repositry is no setting"),
        ({"streams": "many"}, "streams"),
        ({"max_batch_size": 4096}, "max_batch_size"),
        ({"tls_key": "key.pem"}, "tls_key is of no use on Ray"),
        ({"port": 8001}, "port is of no use on Ray"),
    ],
)
def test_a_wrong_argument_is_said(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(StartupError, match=words):
        replica_settings(arguments, {})


def test_a_replica_takes_the_cores_that_ray_reserved_unless_told_otherwise() -> None:
    settings = replica_settings({}, {})
    on_two, on_eight = with_cores(settings, 2.0, 0), with_cores(settings, 8.0, 0)
    assert (on_two.streams, on_two.decode_threads, on_eight.streams, on_eight.decode_threads) == (2, 2, 4, 8)
    assert with_cores(settings, 0.5, 0).streams == 1
    beside_gpu = with_cores(settings, 8, 1)
    assert (beside_gpu.streams, beside_gpu.decode_threads) == (0, 4)
    assert with_cores(replica_settings({"streams": 3}, {}), 1, 0).streams == 3
