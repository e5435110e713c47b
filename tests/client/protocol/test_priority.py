"""The priority is sent by every method that classifies; an invalid one is refused before anything is sent."""

import pytest

from linnaeus.client import AsyncClient, Client, InvalidRequest
from linnaeus.v1 import classifier_pb2 as messages

NAMES = {
    None: messages.PRIORITY_UNSPECIFIED,
    "high": messages.PRIORITY_HIGH,
    "normal": messages.PRIORITY_NORMAL,
    "low": messages.PRIORITY_LOW,
}


def sent(stub):
    return [request.priority for request in stub.requests if isinstance(request, messages.ClassifyRequest)]


@pytest.mark.parametrize(("name", "value"), NAMES.items())
def test_each_name_arrives_as_its_value(stub, name, value):
    with Client(stub.target) as client:
        client.classify(b"a picture", priority=name)
        list(client.classify_many([b"a picture"], priority=name))
    assert sent(stub) == [value, value]


async def test_the_asynchronous_client_and_folders_send_it_too(stub, pictures):
    (path, *_) = pictures("cat.jpg")
    async with AsyncClient(stub.target) as client:
        await client.classify(b"a picture", priority="high")
        outcomes = client.classify_folder(path.rpartition("/")[0], priority="low")
        assert [outcome.error async for outcome in outcomes] == [None]
    assert sent(stub) == [messages.PRIORITY_HIGH, messages.PRIORITY_LOW]


def test_the_command_sends_it(stub, run_command, pictures):
    run_command("classify", *pictures("cat.jpg"), "--priority", "low")
    assert sent(stub) == [messages.PRIORITY_LOW]


@pytest.mark.parametrize("name", ["urgent", "", "HIGH", 3])
def test_any_other_is_refused_before_anything_is_sent(stub, name):
    with Client(stub.target) as client, pytest.raises(InvalidRequest, match="priority must be high, normal or low"):
        client.classify(b"a picture", priority=name)
    assert stub.requests == []
