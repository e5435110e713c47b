"""Renders the project's kustomizations. It supports only what they use, and raises for anything else."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

Resource = dict[str, Any]
_SUPPORTED_KEYS = {"apiVersion", "kind", "namespace", "resources", "images", "patches"}


def render(folder: Path) -> list[Resource]:
    """Returns the resources of a kustomization as `kubectl kustomize` renders them, in the order of the files."""
    content = yaml.safe_load((folder / "kustomization.yaml").read_text())
    if unknown := set(content) - _SUPPORTED_KEYS:
        raise ValueError(f"{folder}: this renderer does not support {unknown}")
    resources = [resource for name in content["resources"] for resource in _read(folder / name)]
    for resource in resources:
        if "namespace" in content and resource["kind"] != "Namespace":
            resource["metadata"]["namespace"] = content["namespace"]
    for patch in content.get("patches", []):
        _patch(resources, patch)
    for image in content.get("images", []):
        _tag(resources, image)
    return resources


def _read(path: Path) -> list[Resource]:
    return render(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))


def _patch(resources: list[Resource], patch: dict[str, Any]) -> None:
    target = patch["target"]
    matches = [
        each for each in resources if (each["kind"], each["metadata"]["name"]) == (target["kind"], target["name"])
    ]
    if len(matches) != 1:
        raise ValueError(f"the patch for {target} fits {len(matches)} resources")
    content = yaml.safe_load(patch["patch"])
    if isinstance(content, dict):
        _delete(resources, matches[0], content)
        return
    for operation in content:
        _apply(matches[0], **operation)


def _delete(resources: list[Resource], resource: Resource, patch: dict[str, Any]) -> None:
    if patch.keys() != {"$patch", "apiVersion", "kind", "metadata"} or patch["$patch"] != "delete":
        raise ValueError(f"this renderer supports no strategic merge but that which deletes: {patch}")
    resources.remove(resource)


def _apply(resource: Any, op: str, path: str, value: Any) -> None:
    """Applies an RFC 6902 `add` or `replace`."""
    *steps, last = path.strip("/").split("/")
    for step in steps:
        resource = resource[int(step) if isinstance(resource, list) else step]
    if op == "add" and isinstance(resource, list) and last == "-":
        resource.append(deepcopy(value))
    elif (op == "add") == (last not in resource) and op in {"add", "replace"}:
        resource[last] = deepcopy(value)
    else:
        raise ValueError(f"{op} {path} cannot be applied")


def _tag(resources: list[Resource], image: dict[str, str]) -> None:
    for resource in resources:
        template = resource.get("spec", {}).get("template", {})
        for container in template.get("spec", {}).get("containers", []):
            if container["image"] == image["name"]:
                container["image"] = f"{image.get('newName', image['name'])}:{image['newTag']}"
