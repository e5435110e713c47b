"""The overlay with KEDA and a gateway is valid and consistent, and its queries give what they say."""

import re
import subprocess
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed (pip install 'linnaeus[ship]')")
from tests.docker.custom_resources import SCHEMAS, violations  # noqa: E402  # the manifests need PyYAML
from tests.docker.kustomization import render  # noqa: E402

Resource = dict[str, Any]
Resources = dict[tuple[str, str], Resource]


def by_name(resources: list[Resource]) -> Resources:
    """Returns resources by kind and name; there is one of each."""
    named = {(each["kind"], each["metadata"]["name"]): each for each in resources}
    assert len(named) == len(resources)
    return named


@pytest.fixture(scope="module")
def kubernetes() -> Path:
    return Path(__file__).resolve().parents[2] / "docker" / "kubernetes"


@pytest.fixture(scope="module")
def overlay(kubernetes: Path) -> Resources:
    return by_name(render(kubernetes / "overlays" / "keda"))


@pytest.fixture(scope="module")
def cpu(kubernetes: Path) -> Resources:
    return by_name(render(kubernetes / "overlays" / "cpu"))


@pytest.fixture(scope="module")
def scaled_object(overlay: Resources) -> Resource:
    return overlay["ScaledObject", "linnaeus"]["spec"]


@pytest.fixture(scope="module")
def triggers(scaled_object: Resource) -> dict[str, dict[str, str]]:
    assert all(each.keys() == {"type", "name", "metadata"} for each in scaled_object["triggers"])
    return {each["name"]: each["metadata"] for each in scaled_object["triggers"]}


def test_the_overlay_is_that_for_cpus_with_another_autoscaler_and_a_gateway(overlay: Resources, cpu: Resources) -> None:
    gone = {("HorizontalPodAutoscaler", "linnaeus")}
    more = {("ScaledObject", "linnaeus"), ("Gateway", "linnaeus"), ("GRPCRoute", "linnaeus")}
    more |= {("BackendTrafficPolicy", "linnaeus-calls"), ("BackendTrafficPolicy", "linnaeus-models")}
    assert overlay.keys() == cpu.keys() - gone | more
    changed = {name for name in overlay.keys() & cpu.keys() if overlay[name] != cpu[name]}
    assert changed == {("NetworkPolicy", "linnaeus")}
    *others, gateways = overlay["NetworkPolicy", "linnaeus"]["spec"]["ingress"]
    assert others == cpu["NetworkPolicy", "linnaeus"]["spec"]["ingress"]
    assert gateways["ports"] == [{"protocol": "TCP", "port": "grpc"}]


def test_every_resource_is_valid_by_its_schema(overlay: Resources) -> None:
    validate = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed (pip install 'linnaeus[ship]')"
    )
    for (kind, _), resource in overlay.items():
        if (SCHEMAS / f"{kind}.json").exists():
            assert violations(resource) == []
        else:
            validate.validate(resource, validate.latest_version(), strict=True)


@pytest.mark.needs(program="kubectl")
def test_kubectl_renders_the_same_resources(kubernetes: Path, overlay: Resources) -> None:
    command = ["kubectl", "kustomize", str(kubernetes / "overlays" / "keda")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert by_name(list(yaml.safe_load_all(done.stdout))) == overlay


@pytest.mark.parametrize(
    "spoil",
    [
        lambda spec: spec.update(minReplicas=0),
        lambda spec: spec["scaleTargetRef"].pop("name"),
        lambda spec: spec.update(triggers={}),
        lambda spec: spec["triggers"][0]["metadata"].update(threshold=0.05),  # KEDA takes texts only
        lambda spec: spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleUp"].update(policy=[]),
    ],
)
def test_a_spoilt_scaled_object_is_found(kubernetes: Path, spoil: Callable[[Any], Any]) -> None:
    spoilt = by_name(render(kubernetes / "overlays" / "keda"))["ScaledObject", "linnaeus"]
    spoil(spoilt["spec"])
    assert len(violations(spoilt)) == 1


def test_pods_are_added_as_by_the_other_autoscaler(
    scaled_object: Resource, triggers: dict[str, dict[str, str]], cpu: Resources
) -> None:
    other = cpu["HorizontalPodAutoscaler", "linnaeus"]["spec"]
    assert scaled_object["scaleTargetRef"]["name"] == other["scaleTargetRef"]["name"]
    assert scaled_object["maxReplicaCount"] == other["maxReplicas"] and scaled_object["minReplicaCount"] == 0
    assert scaled_object["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == other["behavior"]
    (metric,) = other["metrics"]
    target = metric["pods"]["target"]["averageValue"]
    assert target.endswith("m") and Decimal(triggers["queue"]["threshold"]) == Decimal(target[:-1]) / 1000


def words(query: str) -> str:
    return re.sub(r"\s+", "", query)


def test_the_query_is_that_of_the_other_autoscaler_added_up_over_the_pods(
    triggers: dict[str, dict[str, str]], kubernetes: Path
) -> None:
    (rule,) = yaml.safe_load((kubernetes / "prometheus-adapter-rules.yaml").read_text())["rules"]["custom"]
    for query, selected in (
        (triggers["queue"]["query"], 'namespace="linnaeus"'),
        (kserve_query(kubernetes), 'pod=~"flowers-predictor-.*"'),
    ):
        of_pods = rule["metricsQuery"].replace("<<.GroupBy>>", "pod").replace("<<.LabelMatchers>>", selected)
        assert words(query) == words(f"sum({of_pods})")


def kserve_query(kubernetes: Path) -> str:
    service = yaml.safe_load((kubernetes / "kserve" / "standard.yaml").read_text())
    (metric,) = service["spec"]["predictor"]["autoScaling"]["metrics"]
    assert Decimal(metric["external"]["target"]["value"]) == Decimal("0.05")
    query: str = metric["external"]["metric"]["query"]
    return query


def test_the_queries_give_what_they_say(
    triggers: dict[str, dict[str, str]], tmp_path: Path, promtool: Callable[..., None]
) -> None:
    """Of two pods, whose pictures waited 0.25 s and 0, and of one proxy with a call every five seconds."""
    stage = '%s{stage="queue",namespace="linnaeus",pod="%s"}'
    requests = 'envoy_http_downstream_rq_total{gateway="%s",pod="%s",envoy_http_conn_manager_prefix="%s"}'
    series = {
        stage % ("linnaeus_stage_seconds_sum", "a"): "0+15x20",
        stage % ("linnaeus_stage_seconds_count", "a"): "0+60x20",
        stage % ("linnaeus_stage_seconds_sum", "b"): "7x20",
        stage % ("linnaeus_stage_seconds_count", "b"): "9x20",
        requests % ("linnaeus", "p", "http-8001"): "0+6x20",
        requests % ("linnaeus", "q", "http-8001"): "3x20",
        requests % ("linnaeus", "p", "admin"): "0+60x20",
        requests % ("other", "r", "http-8001"): "0+60x20",
    }
    calls = promql(triggers["calls"]["query"], series, {"labels": "{}", "value": 0.2})
    queue = promql(triggers["queue"]["query"], series, {"labels": "{}", "value": 0.25})
    nothing = promql(triggers["queue"]["query"], {}, None)  # which KEDA takes for 0
    path = tmp_path / "keda_test.yml"
    path.write_text(yaml.safe_dump({"tests": [calls, queue, nothing]}))
    promtool("test", "rules", str(path))


def promql(query: str, series: dict[str, str], expected: dict[str, Any] | None) -> dict[str, Any]:
    """Returns a test of promtool: what a query gives after ten minutes."""
    samples = [expected] if expected else []
    return {
        "interval": "30s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": query, "eval_time": "10m", "exp_samples": samples}],
    }


def test_calls_are_reason_for_one_pod_and_never_for_two(triggers: dict[str, dict[str, str]]) -> None:
    assert float(triggers["calls"]["activationThreshold"]) == 0
    assert float(triggers["calls"]["threshold"]) >= 1_000_000


def test_the_route_leads_to_the_service_and_its_policies_name_its_rules(overlay: Resources) -> None:
    route, gateway = overlay["GRPCRoute", "linnaeus"]["spec"], overlay["Gateway", "linnaeus"]
    assert [each["name"] for each in route["parentRefs"]] == [gateway["metadata"]["name"]]
    ports = {each["port"] for each in overlay["Service", "linnaeus"]["spec"]["ports"] if each["name"] == "grpc"}
    backends = [backend for rule in route["rules"] for backend in rule["backendRefs"]]
    assert {(each["name"], each["port"]) for each in backends} == {("linnaeus", *ports)}
    rules = {rule["name"]: rule for rule in route["rules"]}
    policies = [each["spec"] for (kind, _), each in overlay.items() if kind == "BackendTrafficPolicy"]
    targets = {target["sectionName"]: policy for policy in policies for target in policy["targetRefs"]}
    assert targets.keys() == rules.keys() == {"models", "calls"}
    assert "retry" in targets["calls"] and "retry" not in targets["models"]
    assert {policy["timeout"]["http"]["requestTimeout"] for policy in policies} == {"0s"}


def test_calls_that_are_not_sent_twice_are_those_that_change_what_is_served(overlay: Resources) -> None:
    rules = {rule["name"]: rule for rule in overlay["GRPCRoute", "linnaeus"]["spec"]["rules"]}
    named = {(each["method"]["service"], each["method"].get("method")) for each in rules["models"]["matches"]}
    services = {service.full_name: service for service in descriptors()}
    assert {(name, method) for name, method in named if method is None} == {("linnaeus.v1.ModelService", None)}
    repository = {("inference.GRPCInferenceService", f"RepositoryModel{change}") for change in ("Load", "Unload")}
    assert named - {("linnaeus.v1.ModelService", None)} == repository
    assert all(
        name in services and (method is None or method in services[name].methods_by_name) for name, method in named
    )


def descriptors() -> list[Any]:
    from linnaeus.kserve import grpc_service_pb2
    from linnaeus.v1 import classifier_pb2

    files = (classifier_pb2.DESCRIPTOR, grpc_service_pb2.DESCRIPTOR)
    return [service for file in files for service in file.services_by_name.values()]
