"""Descriptors of gRPC's own services in their present form, which the Python packages lag behind.

grpcio-health-checking has no `Health/List`, and grpcio-reflection has `grpc.reflection.v1alpha` only, whose messages
are those of `grpc.reflection.v1` under another name. Both are described here on top of the packages, in a descriptor
pool of their own: the default pool holds one version of a file.
"""

import contextlib
from collections.abc import Iterable

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"
_V1ALPHA, _V1 = "grpc.reflection.v1alpha", "grpc.reflection.v1"
_HEALTH = "grpc.health.v1"


def describe_services(names: Iterable[str]) -> descriptor_pool.DescriptorPool:
    """Returns a pool with the files of the named services, of health with `List`, and of both reflection services.

    A name without a descriptor is left out.
    """
    pool, added = descriptor_pool.DescriptorPool(), set[str]()
    for file in (_health_file(), _reflection_v1_file()):
        pool.AddSerializedFile(file.SerializeToString())
        added.add(file.name)
    default = descriptor_pool.Default()
    for name in names:
        with contextlib.suppress(KeyError):
            _add(pool, default.FindFileContainingSymbol(name), added)
    _add(pool, default.FindFileContainingSymbol(reflection.SERVICE_NAME), added)
    return pool


def _add(pool: descriptor_pool.DescriptorPool, file: FileDescriptor, added: set[str]) -> None:
    """Adds a file after the files that it imports."""
    if file.name in added:
        return
    added.add(file.name)
    for imported in file.dependencies:
        _add(pool, imported, added)
    pool.AddSerializedFile(file.serialized_pb)


def _health_file() -> FileDescriptorProto:
    """Returns health.proto with `List`, as https://github.com/grpc/grpc-proto has it."""
    file = FileDescriptorProto()
    health_pb2.DESCRIPTOR.CopyToProto(file)
    service = next(each for each in file.service if each.name == "Health")
    if all(method.name != "List" for method in service.method):
        file.message_type.add(name="HealthListRequest")
        file.message_type.append(_list_response())
        service.method.add(
            name="List", input_type=f".{_HEALTH}.HealthListRequest", output_type=f".{_HEALTH}.HealthListResponse"
        )
    return file


def _list_response() -> DescriptorProto:
    """Returns the message with `map<string, HealthCheckResponse> statuses = 1`; a map is a list of entries."""
    field, check = FieldDescriptorProto, f".{_HEALTH}.HealthCheckResponse"
    message = DescriptorProto(name="HealthListResponse")
    entry = message.nested_type.add(name="StatusesEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=field.LABEL_OPTIONAL, type=field.TYPE_STRING)
    entry.field.add(name="value", number=2, label=field.LABEL_OPTIONAL, type=field.TYPE_MESSAGE, type_name=check)
    entries = f".{_HEALTH}.HealthListResponse.StatusesEntry"
    message.field.add(name="statuses", number=1, label=field.LABEL_REPEATED, type=field.TYPE_MESSAGE, type_name=entries)
    return message


def _reflection_v1_file() -> FileDescriptorProto:
    """Returns reflection.proto of v1alpha with the package renamed, as v1 came to be."""
    file = FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    file.name, file.package = "grpc/reflection/v1/reflection.proto", _V1
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(_V1ALPHA, _V1)
    for method in file.service[0].method:
        method.input_type = method.input_type.replace(_V1ALPHA, _V1)
        method.output_type = method.output_type.replace(_V1ALPHA, _V1)
    return file


_LIST_POOL = describe_services(())
HealthListRequest = message_factory.GetMessageClass(_LIST_POOL.FindMessageTypeByName(f"{_HEALTH}.HealthListRequest"))
HealthListResponse = message_factory.GetMessageClass(_LIST_POOL.FindMessageTypeByName(f"{_HEALTH}.HealthListResponse"))
