"""Makes the JSON schemas in tests/data/kubernetes/ from the CustomResourceDefinitions of other projects.

    python scripts/kubernetes_schemas.py FOLDER

FOLDER holds clones of these projects, named as in `SOURCES`, with the tags there. What is written is what an API server
checks, without descriptions, and stricter where it would drop a field without a word: an unknown field is an error.
Parts of the largest kinds that no manifest of ours uses are left out, and so are unknown, too. Rules in CEL are not in
it: no Python program evaluates them. Needs PyYAML (pip install 'linnaeus[ship]').
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

Schema: TypeAlias = dict[str, Any]
TARGET = Path(__file__).resolve().parent.parent / "tests" / "data" / "kubernetes"
_LIMITS = {f"{bound}{of}" for bound in ("min", "max") for of in ("Length", "Items", "Properties", "imum")}
_KEPT = _LIMITS | {"type", "enum", "pattern", "required", "nullable", "uniqueItems", "oneOf", "anyOf", "allOf", "not"}
_METADATA = {key: {"type": "string"} for key in ("name", "namespace")} | {
    key: {"type": "object", "additionalProperties": {"type": "string"}} for key in ("labels", "annotations")
}
# A schema that occurs several times is written once if it has as many characters.
_LEAST_SHARED = 60


@dataclass(frozen=True, slots=True)
class Source:
    """A kind of another project.

    Attributes:
        project, tag: name of the clone, and the release; all of them are under the Apache License 2.0.
        path: the CustomResourceDefinition's file.
        left_out: paths of fields below `spec`, with dots, that are left out.
    """

    project: str
    tag: str
    path: str
    left_out: tuple[str, ...] = ()


# Of a predictor: the frameworks that have a field of their own, sidecars, and what a pod of ours has no use for.
_FRAMEWORKS = "sklearn xgboost tensorflow pytorch triton onnx huggingface pmml lightgbm paddle"
_POD = "containers initContainers workerSpec affinity logger batcher"
_NOT_OF_A_PREDICTOR = tuple(
    f"{predictor}.{name}" for predictor in ("predictor", "canary.predictor") for name in f"{_FRAMEWORKS} {_POD}".split()
)
_KSERVE = ("kserve", "v0.20.0")
_GATEWAY_API = ("gateway-api", "v1.6.1")
SOURCES = {
    "ClusterServingRuntime": Source(
        *_KSERVE, "config/crd/full/serving.kserve.io_clusterservingruntimes.yaml", ("workerSpec", "affinity")
    ),
    "InferenceService": Source(
        *_KSERVE,
        "config/crd/full/serving.kserve.io_inferenceservices.yaml",
        ("transformer", "explainer", *_NOT_OF_A_PREDICTOR),
    ),
    "ScaledObject": Source("keda", "v2.20.2", "config/crd/bases/keda.sh_scaledobjects.yaml"),
    "Gateway": Source(*_GATEWAY_API, "config/crd/standard/gateway.networking.k8s.io_gateways.yaml"),
    "GRPCRoute": Source(*_GATEWAY_API, "config/crd/standard/gateway.networking.k8s.io_grpcroutes.yaml"),
    "BackendTrafficPolicy": Source(
        "envoy-gateway",
        "v1.9.0",
        "charts/gateway-crds-helm/templates/generated/gateway.envoyproxy.io_backendtrafficpolicies.yaml",
        ("rateLimit", "faultInjection", "responseOverride"),
    ),
}


def strict(schema: Schema) -> Schema:
    """Returns a structural schema as a JSON schema that refuses unknown fields."""
    made = {key: value for key, value in schema.items() if key in _KEPT}
    for key in ("oneOf", "anyOf", "allOf"):
        if key in made:
            made[key] = [_of_combination(each) for each in made[key]]
    if schema.get("x-kubernetes-int-or-string"):
        made["type"] = ["integer", "string"]
        made.pop("anyOf", None)
    if "items" in schema:
        made["items"] = strict(schema["items"])
    if "properties" in schema:
        made["properties"] = {name: strict(each) for name, each in schema["properties"].items()}
    if isinstance(others := schema.get("additionalProperties"), dict):
        made["additionalProperties"] = strict(others)
    elif schema.get("type") == "object" and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made["additionalProperties"] = False
    if made.pop("nullable", False):
        made["type"] = [made["type"], "null"]
    return made


def _of_combination(schema: Schema) -> Schema:
    """Returns a part of oneOf and its like: it says what must be there, and not which fields exist."""
    return {key: value for key, value in schema.items() if key in _KEPT | {"properties", "items"}}


def schema_of(crd: Schema, left_out: tuple[str, ...]) -> Schema:
    """Returns the schema of the newest version that the API server stores or serves."""
    versions = [each for each in crd["spec"]["versions"] if each["served"]]
    version = next((each for each in versions if each["storage"]), versions[-1])
    root = version["schema"]["openAPIV3Schema"]
    for path in left_out:
        _leave_out(root["properties"]["spec"], path.split("."))
    made = strict({**root, "properties": {"spec": root["properties"]["spec"]}})
    names = crd["spec"]["names"], crd["spec"]["group"]
    made["properties"] |= {
        "apiVersion": {"const": f"{names[1]}/{version['name']}"},
        "kind": {"const": names[0]["kind"]},
        "metadata": {"properties": _METADATA, "additionalProperties": False, "required": ["name"]},
    }
    return made | {"required": ["apiVersion", "kind", "metadata", "spec"]}


def _leave_out(schema: Schema, path: list[str]) -> None:
    for name in path[:-1]:
        schema = schema["properties"][name]
        schema = schema.get("items", schema)
    del schema["properties"][path[-1]]
    schema["required"] = [name for name in schema.get("required", []) if name != path[-1]]


def shared(schema: Schema) -> Schema:
    """Returns the schema with what occurs several times in `$defs`."""
    counts = Counter[str]()

    def count(part: Schema) -> Schema:
        counts[_text(part)] += 1
        return _map_parts(part, count)

    _map_parts(schema, count)
    numbers: dict[str, int] = {}

    def reference(part: Schema) -> Schema:
        text = _text(part)
        if len(text) < _LEAST_SHARED or counts[text] == 1:
            return _map_parts(part, reference)
        return {"$ref": f"#/$defs/{numbers.setdefault(text, len(numbers))}"}

    made = _map_parts(schema, reference)
    definitions: Schema = {}
    while len(definitions) < len(numbers):  # replacing the parts of a definition may find others
        text = list(numbers)[len(definitions)]
        definitions[str(len(definitions))] = _map_parts(json.loads(text), reference)
    return made | {"$defs": definitions}


def _map_parts(schema: Schema, change: Callable[[Schema], Schema]) -> Schema:
    """Returns a copy of a schema whose immediate parts are changed."""
    made = dict(schema)
    for key in made.keys() & {"items", "additionalProperties", "not"}:
        made[key] = change(made[key]) if isinstance(made[key], dict) else made[key]
    for key in made.keys() & {"oneOf", "anyOf", "allOf"}:
        made[key] = [change(part) for part in made[key]]
    if "properties" in made:
        made["properties"] = {name: change(part) for name, part in made["properties"].items()}
    return made


def _text(schema: Schema) -> str:
    return json.dumps(schema, separators=(",", ":"))


def _read(clones: Path, source: Source) -> str:
    """Returns a CustomResourceDefinition; some lie in a Helm chart, inside one condition."""
    command = ["git", "-C", str(clones / source.project), "show", f"{source.tag}:{source.path}"]
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=60)
    return "".join(line for line in done.stdout.splitlines(keepends=True) if not line.startswith("{{"))


def main(clones: Path) -> None:
    """Writes the schema of each kind."""
    TARGET.mkdir(exist_ok=True)
    for kind, source in SOURCES.items():
        crd = yaml.load(_read(clones, source), yaml.CSafeLoader)
        comment = f"{source.project} {source.tag}, {source.path}, Apache License 2.0; by scripts/{Path(__file__).name}"
        made = {"$comment": comment, **shared(schema_of(crd, source.left_out))}
        (TARGET / f"{kind}.json").write_text(json.dumps(made, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
