"""The manifests are valid, consistent, and set only settings that the server has."""

import re
import subprocess
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from tests.pages import shell_commands

from linnaeus.server.config.front_ends import automatic_front_ends
from linnaeus.server.config.settings import ENVIRONMENT_PREFIX, Settings

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed (pip install 'linnaeus[ship]')")
from tests.docker.kustomization import render  # noqa: E402  # it needs PyYAML

OVERLAYS = ("cpu", "gpu")
LABELS = {"app.kubernetes.io/name": "linnaeus"}


@pytest.fixture(params=OVERLAYS)
def folder(request: pytest.FixtureRequest, docker_folder: Path) -> Path:
    return docker_folder / "kubernetes" / "overlays" / request.param


@pytest.fixture
def resources(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns the resources of an overlay by kind; there is one of each."""
    rendered = render(folder)
    by_kind = {resource["kind"]: resource for resource in rendered}
    assert len(by_kind) == len(rendered)
    return by_kind


@pytest.fixture
def pod(resources: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return resources["Deployment"]["spec"]["template"]


@pytest.fixture
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["spec"]["containers"]
    return only


def test_an_overlay_has_every_expected_resource(resources: dict[str, dict[str, Any]]) -> None:
    kinds = {"Namespace", "Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"}
    assert set(resources) == kinds


@pytest.mark.parametrize("version", ["oldest", "newest"])
def test_every_resource_is_valid_by_its_schema(resources: dict[str, dict[str, Any]], version: str) -> None:
    validate = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed (pip install 'linnaeus[ship]')"
    )
    # unhealthyPodEvictionPolicy is the newest field in use: beta, and so enabled by default, since 1.27
    number = "1.27" if version == "oldest" else validate.latest_version()
    for resource in resources.values():
        validate.validate(resource, number, strict=True)  # a missing schema is an error, too


@pytest.mark.needs(program="kubectl")
def test_kubectl_renders_the_same_resources(folder: Path, resources: dict[str, dict[str, Any]]) -> None:
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert {each["kind"]: each for each in yaml.safe_load_all(done.stdout)} == resources


def test_pods_meet_the_restricted_pod_security_standard(
    pod: dict[str, Any], container: dict[str, Any], resources: dict[str, dict[str, Any]], docker_folder: Path
) -> None:
    assert resources["Namespace"]["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}
    user = re.search(r"^USER (\d+):(\d+)$", (docker_folder / "Dockerfile").read_text(), re.MULTILINE)
    assert user
    assert pod["spec"]["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": int(user[1]),
        "runAsGroup": int(user[2]),
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["spec"]["automountServiceAccountToken"] is False


def test_all_probes_use_grpc_on_the_health_port(container: dict[str, Any]) -> None:
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    settings = {variable["name"]: variable.get("value") for variable in container["env"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["grpc"] == {"port": ports["health"]}
    health_port = int(settings["LINNAEUS_HEALTH_PORT"])
    defaults = Settings()
    opened = {"http": defaults.http_port, "grpc": defaults.port, "metrics": defaults.metrics_port}
    assert ports == opened | {"health": health_port}
    assert settings["LINNAEUS_HEALTH_HOST"] == "::"  # IPv6 and IPv4: the node probes the pod's address


def test_selectors_and_port_names_match(
    resources: dict[str, dict[str, Any]], pod: dict[str, Any], container: dict[str, Any]
) -> None:
    assert pod["metadata"]["labels"] == LABELS
    service, policy = resources["Service"]["spec"], resources["NetworkPolicy"]["spec"]
    assert service["selector"] == LABELS and service["clusterIP"] == "None"
    for spec, key in (
        (resources["Deployment"]["spec"], "selector"),
        (resources["PodDisruptionBudget"]["spec"], "selector"),
        (policy, "podSelector"),
    ):
        assert spec[key] == {"matchLabels": LABELS}
    names = {port["name"] for port in container["ports"]} - {"health"}  # used only by the node
    assert {port["targetPort"] for port in service["ports"]} == {"grpc", "http"}
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == names
    target = resources["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", resources["Deployment"]["metadata"]["name"])
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["spec"]["volumes"]}


def test_every_environment_variable_is_a_valid_setting(pod: dict[str, Any], container: dict[str, Any]) -> None:
    known = {f"{ENVIRONMENT_PREFIX}{setting.name.upper()}": setting for setting in fields(Settings)}
    chosen = {}
    for variable in container["env"]:
        setting = known[variable["name"]]
        kind = int if setting.name == "front_ends" else type(setting.default)  # its default is a word
        chosen[setting.name] = kind(variable.get("value", 2))
    Settings(**chosen)
    # otherwise every pod beside a Service has a variable NAME_PORT with an address as its value
    assert pod["spec"]["enableServiceLinks"] is False


def test_a_pod_has_half_as_many_front_ends_as_it_asks_for_cores(container: dict[str, Any]) -> None:
    settings = {variable["name"]: variable.get("value") for variable in container["env"]}
    cores = int(container["resources"]["requests"]["cpu"])
    assert int(settings["LINNAEUS_FRONT_ENDS"]) == automatic_front_ends(cores, has_socket_file=False)


def test_the_termination_grace_period_covers_lame_duck_and_drain(
    pod: dict[str, Any], container: dict[str, Any]
) -> None:
    settings = {variable["name"]: variable.get("value") for variable in container["env"]}
    pause = float(settings["LINNAEUS_LAME_DUCK_SECONDS"])
    needed = pause + float(settings["LINNAEUS_DRAIN_SECONDS"])
    assert pause > 0  # endpoints and DNS drop a pod only after it is told to stop
    assert pod["spec"]["terminationGracePeriodSeconds"] >= needed + 10
    assert float(settings["LINNAEUS_MAX_CONNECTION_AGE_SECONDS"]) > 0


def test_a_gpu_pod_requests_one_gpu_and_a_cpu_pod_none(folder: Path, container: dict[str, Any]) -> None:
    assert container["resources"]["limits"].get("nvidia.com/gpu", 0) == (folder.name == "gpu")
    device = {variable["name"]: variable.get("value") for variable in container["env"]}["LINNAEUS_DEVICE"]
    assert device == {"cpu": "cpu", "gpu": "cuda:0"}[folder.name]


def test_the_adapter_provides_the_metric_of_the_autoscaler(
    resources: dict[str, dict[str, Any]], docker_folder: Path, tmp_path: Path, promtool: Callable[..., None]
) -> None:
    rules = yaml.safe_load((docker_folder / "kubernetes" / "prometheus-adapter-rules.yaml").read_text())
    (rule,) = rules["rules"]["custom"]
    (metric,) = resources["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert rule["name"]["as"] == metric["pods"]["metric"]["name"]
    query = rule["metricsQuery"].replace("<<.GroupBy>>", "pod").replace("<<.LabelMatchers>>", 'pod=~"a|b"')
    series = '{job="linnaeus",pod="%s",stage="queue"}'
    test = {
        "tests": [
            {
                "interval": "30s",
                "input_series": [
                    {"series": "linnaeus_stage_seconds_sum" + series % "a", "values": "0+15x10"},
                    {"series": "linnaeus_stage_seconds_count" + series % "a", "values": "0+60x10"},
                    {"series": "linnaeus_stage_seconds_sum" + series % "b", "values": "7x10"},
                    {"series": "linnaeus_stage_seconds_count" + series % "b", "values": "9x10"},
                ],
                "promql_expr_test": [
                    {
                        "expr": query,
                        "eval_time": "5m",
                        "exp_samples": [{"labels": '{pod="a"}', "value": 0.25}, {"labels": '{pod="b"}', "value": 0}],
                    }
                ],
            }
        ]
    }
    path = tmp_path / "adapter_test.yml"
    path.write_text(yaml.safe_dump(test))
    promtool("test", "rules", str(path))


def test_the_scrape_configuration_is_valid_and_selects_the_pods(
    container: dict[str, Any], docker_folder: Path, tmp_path: Path, promtool: Callable[..., None]
) -> None:
    configuration = yaml.safe_load((docker_folder / "kubernetes" / "prometheus-scrape.yml").read_text())
    job, of_gateway = configuration["scrape_configs"]
    discovery, proxies = (each.pop("kubernetes_sd_configs")[0] for each in (job, of_gateway))
    # Debian's Prometheus is built without Kubernetes discovery
    (tmp_path / "rest.yml").write_text(yaml.safe_dump(configuration))
    promtool("check", "config", "--syntax-only", str(tmp_path / "rest.yml"))
    assert discovery["selectors"] == [{"role": "pod", "label": ",".join("=".join(pair) for pair in LABELS.items())}]
    assert discovery["namespaces"]["names"] == ["linnaeus"]
    rules = {rule["source_labels"][0]: rule for rule in job["relabel_configs"]}
    kept = rules["__meta_kubernetes_pod_container_port_name"]["regex"]
    assert kept in {port["name"] for port in container["ports"]}
    assert {"namespace", "pod"} == {rule["target_label"] for rule in rules.values() if "target_label" in rule}
    assert job["job_name"] == "linnaeus" and of_gateway["job_name"] != "linnaeus"  # what the alert rules look at
    assert proxies["selectors"] == [{"role": "pod", "label": "gateway.envoyproxy.io/owning-gateway-name=linnaeus"}]


def test_the_pages_apply_manifests_that_exist(docker_folder: Path) -> None:
    applied = [
        re.findall(r"-([fk]) (docker/\S+)", command) for _, command in shell_commands() if command.startswith("kubectl")
    ]
    assert len(applied) > 2 and all(applied)
    for option, path in (each for options in applied for each in options):
        found = docker_folder.parent / path / "kustomization.yaml" if option == "k" else docker_folder.parent / path
        assert found.is_file()
