"""KServe's resources are valid by its schemas, and set up pods as the other manifests do."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from linnaeus.models.manifest import FORMAT
from linnaeus.server.config.settings import ENVIRONMENT_PREFIX, Settings

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed (pip install 'linnaeus[ship]')")
from tests.docker.custom_resources import violations  # noqa: E402  # the manifests need PyYAML
from tests.docker.kustomization import render  # noqa: E402

Resource = dict[str, Any]
STANDARD, KNATIVE = "Standard", "Knative"
# What an InferenceService lets a pod have and Knative does not, by the version that it was looked up in (1.23).
NOT_OF_KNATIVE = {"terminationGracePeriodSeconds", "deploymentStrategy", "topologySpreadConstraints", "autoScaling"}


@pytest.fixture(scope="module")
def folder() -> Path:
    return Path(__file__).resolve().parents[2] / "docker" / "kubernetes"


@pytest.fixture(scope="module")
def resources(folder: Path) -> list[Resource]:
    paths = sorted((folder / "kserve").glob("*.yaml"))
    return [resource for path in paths for resource in yaml.safe_load_all(path.read_text())]


@pytest.fixture(scope="module")
def runtime(resources: list[Resource]) -> Resource:
    (only,) = [each for each in resources if each["kind"] == "ClusterServingRuntime"]
    return only


@pytest.fixture(scope="module")
def container(runtime: Resource) -> Resource:
    (only,) = runtime["spec"]["containers"]
    return only


@pytest.fixture(scope="module")
def services(resources: list[Resource]) -> list[Resource]:
    return [each for each in resources if each["kind"] == "InferenceService"]


@pytest.fixture(scope="module")
def pod(folder: Path) -> Resource:
    """The pod of the other manifests."""
    (deployment,) = [each for each in render(folder / "base") if each["kind"] == "Deployment"]
    return deployment["spec"]["template"]["spec"]


def mode(service: Resource) -> str:
    return service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"]


def predictors(service: Resource) -> list[Resource]:
    spec = service["spec"]
    return [spec["predictor"], *(canary["predictor"] for canary in spec.get("canary", []))]


def test_every_resource_is_valid_by_its_schema(resources: list[Resource]) -> None:
    assert {each["kind"] for each in resources} == {"ClusterServingRuntime", "InferenceService", "GRPCRoute"}
    assert [violations(each) for each in resources] == [[]] * len(resources)


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("ClusterServingRuntime", lambda spec: spec["containers"][0].update(imagee="x")),
        ("ClusterServingRuntime", lambda spec: spec.pop("containers")),
        ("ClusterServingRuntime", lambda spec: spec["containers"][0]["readinessProbe"]["grpc"].update(port="health")),
        ("InferenceService", lambda spec: spec["predictor"].update(canaryTraffic=10)),
        ("InferenceService", lambda spec: spec["predictor"].update(canaryTrafficPercent="10 %")),
        ("InferenceService", lambda spec: spec["predictor"]["model"]["modelFormat"].pop("name")),
        ("InferenceService", lambda spec: spec["predictor"]["model"]["resources"].update(limits={"cpu": "two"})),
        ("GRPCRoute", lambda spec: spec["rules"][0]["backendRefs"][0].update(weight=-1)),
        ("GRPCRoute", lambda spec: spec["rules"][0]["backendRefs"][0].update(namme="x")),
        ("GRPCRoute", lambda spec: spec.update(hostnames=["Not a host"])),
    ],
)
def test_a_spoilt_resource_is_found(resources: list[Resource], kind: str, spoil: Callable[[Any], Any]) -> None:
    *_, found = [each for each in resources if each["kind"] == kind]
    spoilt = deepcopy(found)
    spoil(spoilt["spec"])
    assert len(violations(spoilt)) == 1


def test_the_runtime_sets_only_settings_that_the_server_has(container: Resource) -> None:
    known = {f"{ENVIRONMENT_PREFIX}{setting.name.upper()}": setting for setting in fields(Settings)}
    chosen = {}
    for variable in container["env"]:
        setting = known[variable["name"]]
        chosen[setting.name] = type(setting.default)(variable["value"])
    Settings(**chosen)


def test_the_runtime_runs_as_the_other_manifests_pods_do(container: Resource, runtime: Resource, pod: Resource) -> None:
    (other,) = pod["containers"]
    differs = {"successThreshold": 1}  # KServe's CRD has no default for it, and Knative wants it
    assert container["readinessProbe"] == other["readinessProbe"] | differs
    for key in ("startupProbe", "livenessProbe", "volumeMounts"):
        assert container[key] == other[key]
    assert container["securityContext"] == pod["securityContext"] | other["securityContext"]
    assert runtime["spec"]["volumes"] == pod["volumes"]
    assert container["resources"]["requests"] == other["resources"]["requests"]
    assert container["resources"]["limits"] == other["resources"]["limits"] | {
        "cpu": other["resources"]["requests"]["cpu"]
    }
    shared = [each for each in container["env"] if each in other["env"]]
    assert shared == other["env"]
    assert runtime["spec"]["annotations"]["prometheus.kserve.io/port"] == str(Settings().metrics_port)


def test_the_runtime_works_with_knative(container: Resource) -> None:
    assert "ports" not in container  # Knative takes one, and those of an InferenceService are added
    assert all("valueFrom" not in variable for variable in container["env"])  # a feature that Knative has off


def test_the_formats_are_those_of_the_server(runtime: Resource, services: list[Resource]) -> None:
    formats = {each["name"]: each for each in runtime["spec"]["supportedModelFormats"]}
    assert formats["linnaeus"]["version"] == str(FORMAT) and formats["linnaeus"]["autoSelect"]
    assert not formats["pytorch"].get("autoSelect")
    for model in (predictor["model"] for service in services for predictor in predictors(service)):
        chosen = formats[model["modelFormat"]["name"]]
        assert model["modelFormat"].get("version", chosen["version"]) == chosen["version"]
        assert chosen.get("autoSelect") or model["runtime"] == runtime["metadata"]["name"]
        assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]  # the default is v1


def test_ports_are_those_of_the_server_named_as_kserve_tells_protocols_apart(
    container: Resource, services: list[Resource]
) -> None:
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    numbers = {"http1": int(environment["LINNAEUS_HTTP_PORT"]), "h2c": Settings().port}
    for service in services:
        for predictor in predictors(service):
            ports = {each["name"]: each["containerPort"] for each in predictor["model"].get("ports", [])}
            assert ports.items() <= numbers.items()
            assert ("h2c" in ports) == (predictor["model"]["protocolVersion"] == "grpc-v2")
            assert mode(service) == STANDARD or len(ports) <= 1


def test_pods_are_given_time_to_drain_and_what_the_mode_allows(services: list[Resource], pod: Resource) -> None:
    for service in services:
        predictor = service["spec"]["predictor"]
        if mode(service) == STANDARD:
            assert predictor["terminationGracePeriodSeconds"] == pod["terminationGracePeriodSeconds"]
            assert predictor["enableServiceLinks"] is False
        else:
            assert not predictor.keys() & NOT_OF_KNATIVE and not service["spec"].get("canary")
            assert predictor["timeout"] >= pod["terminationGracePeriodSeconds"]


def test_a_canary_splits_calls_where_the_mode_does(services: list[Resource], resources: list[Resource]) -> None:
    by_mode = {mode(each): each for each in services if "canary" in str(each["spec"])}
    assert by_mode.keys() == {STANDARD, KNATIVE}
    knative = by_mode[KNATIVE]["spec"]["predictor"]
    (canary,) = by_mode[STANDARD]["spec"]["canary"]
    (route,) = [each for each in resources if each["kind"] == "GRPCRoute"]
    (rule,) = route["spec"]["rules"]
    assert canary["trafficPercent"] == knative["canaryTrafficPercent"]
    name = by_mode[STANDARD]["metadata"]["name"]
    weights = {each["name"]: each["weight"] for each in rule["backendRefs"]}
    share = canary["trafficPercent"]
    assert weights == {f"{name}-predictor": 100 - share, f"{name}-{canary['predictor']['name']}-predictor": share}
    assert {each["port"] for each in rule["backendRefs"]} == {Settings().port}
