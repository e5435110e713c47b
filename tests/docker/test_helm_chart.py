"""The Helm chart renders what the kustomizations do, and each of its values changes what it says."""

import json
import re
import shlex
import subprocess
import tomllib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from tests.pages import shell_commands
from tests.programs import HELM

from linnaeus.server.config.settings import ENVIRONMENT_PREFIX, Settings

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed (pip install 'linnaeus[ship]')")
from tests.docker.custom_resources import SCHEMAS, violations  # noqa: E402  # the chart needs PyYAML
from tests.docker.kustomization import render  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "docker" / "helm" / "linnaeus"
OVERLAYS = ROOT / "docker" / "kubernetes" / "overlays"
SCALED_TO_ZERO = {"autoscaling": {"kind": "keda", "minReplicas": 0}, "gateway": {"enabled": True}}
EVERYTHING = {
    "image": {"repository": "registry.example.org/linnaeus", "tag": "mine", "pullSecrets": ["registry"]},
    "gpu": True,
    "models": {"repository": "s3://bucket/models", "secret": "bucket", "cache": {"emptyDir": {"sizeLimit": "10Gi"}}},
    "tokens": {"secret": "tokens"},
    "settings": {"max-queue-size": 64},
    **SCALED_TO_ZERO,
}
JSON_TYPES = defaultdict(lambda: "string", {bool: "boolean", int: "integer", float: "number"})
Values: TypeAlias = dict[str, Any]
Resources: TypeAlias = dict[tuple[str, str], dict[str, Any]]

pytestmark = pytest.mark.needs(program="helm")


def by_name(resources: list[dict[str, Any]]) -> Resources:
    """Returns resources by kind and name, without the namespace itself, which Helm makes."""
    named = {(each["kind"], each["metadata"]["name"]): each for each in resources if each["kind"] != "Namespace"}
    return named


def helm(folder: Path, values: Values, *command: str) -> "subprocess.CompletedProcess[str]":
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    words = [str(HELM), *command, str(CHART), "--values", str(path), "--namespace", "linnaeus"]
    # Of its own, so that it reads nobody's plugins and repositories.
    environment = {"HOME": str(folder), "HELM_DATA_HOME": str(folder)}
    return subprocess.run(words, capture_output=True, text=True, timeout=60, env=environment)


@pytest.fixture
def chart(tmp_path: Path) -> Callable[..., Resources]:
    """Returns a function that renders the chart with values."""

    def rendered(values: Values | None = None, release: str = "linnaeus") -> Resources:
        done = helm(tmp_path, values or {}, "template", release)
        assert done.returncode == 0, done.stderr
        return by_name([each for each in yaml.safe_load_all(done.stdout) if each])

    return rendered


@pytest.fixture
def container(chart: Callable[..., Resources]) -> Callable[[Values], dict[str, Any]]:
    """Returns a function that returns the container of the Deployment."""

    def of(values: Values) -> dict[str, Any]:
        (only,) = chart(values)["Deployment", "linnaeus"]["spec"]["template"]["spec"]["containers"]
        return only

    return of


def environment(container: dict[str, Any]) -> dict[str, str]:
    names = [variable["name"] for variable in container["env"]]
    assert len(set(names)) == len(names)
    return {variable["name"]: variable.get("value", "2") for variable in container["env"]}


@pytest.mark.parametrize("values", [{}, EVERYTHING, {"autoscaling": {"kind": "none"}}], ids=["defaults", "all", "none"])
def test_the_chart_passes_helms_own_checks(values: Values, tmp_path: Path) -> None:
    done = helm(tmp_path, values, "lint", "--strict")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("overlay", "values"), [("cpu", {}), ("gpu", {"gpu": True}), ("keda", SCALED_TO_ZERO)], ids=["cpu", "gpu", "keda"]
)
def test_the_chart_renders_what_the_overlay_does(chart: Callable[..., Resources], overlay: str, values: Values) -> None:
    expected = by_name(render(OVERLAYS / overlay))
    found = chart(values)
    assert found.keys() == expected.keys()
    for name, resource in expected.items():
        assert found[name] == resource


@pytest.mark.parametrize("values", [{}, EVERYTHING, SCALED_TO_ZERO], ids=["defaults", "all", "keda"])
def test_what_is_rendered_is_valid_by_its_schemas(chart: Callable[..., Resources], values: Values) -> None:
    validate = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed (pip install 'linnaeus[ship]')"
    )
    for (kind, _), resource in chart(values).items():
        if (SCHEMAS / f"{kind}.json").exists():
            assert violations(resource) == []
        else:
            validate.validate(resource, validate.latest_version(), strict=True)


def test_all_objects_of_a_release_have_its_name_and_refer_to_one_another(chart: Callable[..., Resources]) -> None:
    ours, theirs = chart(SCALED_TO_ZERO), chart(SCALED_TO_ZERO, "flowers")
    for (kind, name), resource in theirs.items():
        assert name.startswith("flowers")
        text = json.dumps(resource)
        assert re.findall(r'"linnaeus"', text) == ['"linnaeus"']  # the namespace
        other = json.dumps(ours[kind, name.replace("flowers", "linnaeus")])
        selected = text.replace('namespace=\\"linnaeus\\",pod=~\\"flowers-.*\\"', 'namespace=\\"linnaeus\\"')
        assert selected.replace("flowers", "linnaeus") == other


def test_the_image_is_what_its_values_say(container: Callable[[Values], Any], chart: Callable[..., Resources]) -> None:
    image = {"repository": "registry.example.org/mine", "pullSecrets": ["registry"]}
    assert container({"image": image})["image"] == "registry.example.org/mine:0.1.0-cpu"
    assert container({"image": image | {"tag": "7"}, "gpu": True})["image"] == "registry.example.org/mine:7"
    pod = chart({"image": image})["Deployment", "linnaeus"]["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]


@pytest.mark.parametrize(("cpu", "front_ends"), [("4", "2"), (7, "3"), ("500m", "1"), ("64", "16"), ("3500m", "1")])
def test_half_of_the_requested_cores_are_front_ends(
    container: Callable[[Values], Any], cpu: str | int, front_ends: str
) -> None:
    resources = {"requests": {"cpu": cpu, "memory": "1Gi"}, "limits": {"memory": "3Gi"}}
    made = container({"resources": resources})
    assert made["resources"] == resources
    assert environment(made)["LINNAEUS_FRONT_ENDS"] == front_ends


def test_models_come_from_a_volume(container: Callable[[Values], Any], chart: Callable[..., Resources]) -> None:
    source = {"persistentVolumeClaim": {"claimName": "models"}}
    values = {"models": {"volume": source, "repository": "/models/birds"}}
    made = container(values)
    assert {"name": "models", "mountPath": "/models", "readOnly": True} in made["volumeMounts"]
    assert environment(made)["LINNAEUS_REPOSITORY"] == "/models/birds"
    resources = chart(values)
    assert {"name": "models"} | source in resources["Deployment", "linnaeus"]["spec"]["template"]["spec"]["volumes"]
    assert resources["NetworkPolicy", "linnaeus"]["spec"]["egress"] == []


def test_models_come_from_a_bucket(container: Callable[[Values], Any], chart: Callable[..., Resources]) -> None:
    cache = {"emptyDir": {"sizeLimit": "10Gi"}}
    values = {"models": {"repository": "s3://bucket/models", "secret": "bucket", "cache": cache}}
    made, resources = container(values), chart(values)
    assert environment(made).items() >= {
        ("LINNAEUS_REPOSITORY", "s3://bucket/models"),
        ("LINNAEUS_CACHE_DIR", "/var/cache/linnaeus"),
    }
    assert made["envFrom"] == [{"secretRef": {"name": "bucket"}}]
    assert {"name": "cache", "mountPath": "/var/cache/linnaeus"} in made["volumeMounts"]
    assert {"name": "cache"} | cache in resources["Deployment", "linnaeus"]["spec"]["template"]["spec"]["volumes"]
    assert "ephemeral-storage" not in made["resources"]["limits"]  # an emptyDir counts towards it
    assert resources["NetworkPolicy", "linnaeus"]["spec"]["egress"] == [{}]


def test_certificates_and_tokens_come_from_secrets(
    container: Callable[[Values], Any], chart: Callable[..., Resources]
) -> None:
    values = {"tls": {"secret": "certificate", "clientCa": True}, "tokens": {"secret": "callers"}}
    found = environment(container(values))
    files = {name: value for name, value in found.items() if value.startswith("/etc/")}
    assert files == {
        "LINNAEUS_TLS_CERTIFICATE": "/etc/linnaeus/tls/tls.crt",
        "LINNAEUS_TLS_KEY": "/etc/linnaeus/tls/tls.key",
        "LINNAEUS_TLS_CLIENT_CA": "/etc/linnaeus/tls/ca.crt",
        "LINNAEUS_TOKEN_FILE": "/etc/linnaeus/tokens/tokens",
    }
    assert found["LINNAEUS_INSECURE"] == "0"
    pod = chart(values)["Deployment", "linnaeus"]["spec"]["template"]["spec"]
    secrets = {each["name"]: each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each}
    assert secrets == {"tls": "certificate", "tokens": "callers"}
    paths = {each["name"]: each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    assert paths.items() >= {("tls", "/etc/linnaeus/tls"), ("tokens", "/etc/linnaeus/tokens")}
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]  # which may read them


def test_settings_are_written_as_the_server_reads_them(container: Callable[[Values], Any]) -> None:
    chosen = {"max-queue-size": 64, "max-bytes-in-flight": 4_000_000_000, "request-log": 0.25, "listen-early": True}
    found = environment(container({"settings": chosen | {"log-format": "json"}}))
    assert found.items() >= {
        ("LINNAEUS_MAX_QUEUE_SIZE", "64"),
        ("LINNAEUS_MAX_BYTES_IN_FLIGHT", "4000000000"),
        ("LINNAEUS_REQUEST_LOG", "0.25"),
        ("LINNAEUS_LISTEN_EARLY", "true"),
        ("LINNAEUS_LOG_FORMAT", "json"),
    }


def test_a_setting_is_the_servers_and_not_one_that_the_chart_makes_itself(
    container: Callable[[Values], Any],
) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    allowed = {name: each["type"] for name, each in schema["properties"]["settings"]["properties"].items()}
    tls = {"secret": "certificate", "clientCa": True}
    everything = {"tls": tls, "models": {"repository": "s3://bucket"}, "tokens": {"secret": "callers"}}
    made = {name.removeprefix(ENVIRONMENT_PREFIX).lower() for name in environment(container(everything))}
    # Where the server listens is what probes, Service and policies rely on; HTTP alone may be switched off.
    listening = {"host", "port", "http_host", "metrics_host", "metrics_port"}
    known = {setting.name: JSON_TYPES[type(setting.default)] for setting in fields(Settings)}
    assert made <= known.keys()
    left = known.keys() - made - listening
    assert allowed == {name.replace("_", "-"): kind for name, kind in known.items() if name in left}


def test_autoscaling_is_what_its_values_say(chart: Callable[..., Resources]) -> None:
    scaling = {"minReplicas": 3, "maxReplicas": 7, "queueSeconds": 0.125}
    hpa = chart({"autoscaling": scaling})["HorizontalPodAutoscaler", "linnaeus"]["spec"]
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (3, 7)
    assert hpa["metrics"][0]["pods"]["target"]["averageValue"] == "125m"
    keda = chart({"autoscaling": scaling | {"kind": "keda", "prometheus": "https://p:1"}})["ScaledObject", "linnaeus"]
    (trigger,) = keda["spec"]["triggers"]  # without a gateway nobody counts calls
    assert (keda["spec"]["minReplicaCount"], keda["spec"]["maxReplicaCount"]) == (3, 7)
    assert (trigger["metadata"]["threshold"], trigger["metadata"]["serverAddress"]) == ("0.125", "https://p:1")
    none = chart({"autoscaling": scaling | {"kind": "none"}})
    assert none["Deployment", "linnaeus"]["spec"]["replicas"] == 3
    assert not {kind for kind, _ in none} & {"HorizontalPodAutoscaler", "ScaledObject"}


def test_the_gateway_is_what_its_values_say(chart: Callable[..., Resources]) -> None:
    gateway = {"enabled": True, "className": "mine", "hostnames": ["birds.example.org"], "tlsSecret": "certificate"}
    found = chart({"gateway": gateway | {"envoyPolicies": False, "namespace": "proxies"}})
    spec = found["Gateway", "linnaeus"]["spec"]
    (listener,) = spec["listeners"]
    assert spec["gatewayClassName"] == "mine" and listener["protocol"] == "HTTPS"
    assert listener["tls"] == {"certificateRefs": [{"name": "certificate"}]}
    assert found["GRPCRoute", "linnaeus"]["spec"]["hostnames"] == ["birds.example.org"]
    assert "BackendTrafficPolicy" not in {kind for kind, _ in found}
    *_, rule = found["NetworkPolicy", "linnaeus"]["spec"]["ingress"]
    assert rule["from"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "proxies"}
    assert violations(found["Gateway", "linnaeus"]) == violations(found["GRPCRoute", "linnaeus"]) == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"autoscaling": {"kind": "vpa"}}, r"at '/autoscaling/kind': value must be one of 'hpa', 'keda', 'none'"),
        ({"autoscaling": {"minReplicas": -1}}, r"at '/autoscaling/minReplicas': minimum: got -1, want 0"),
        ({"autoscaling": {"queueSeconds": "50ms"}}, r"at '/autoscaling/queueSeconds': got string, want number"),
        ({"gpu": 2}, r"at '/gpu': got number, want boolean"),
        ({"replicaCount": 3}, r"additional properties 'replicaCount' not allowed"),
        ({"settings": {"max-que-size": 3}}, r"at '/settings': additional properties 'max-que-size' not allowed"),
        ({"settings": {"port": 3}}, r"at '/settings': additional properties 'port' not allowed"),
        ({"settings": {"max-queue-size": "many"}}, r"at '/settings/max-queue-size': got string, want integer"),
        ({"resources": {"limits": {"memory": "1Gi"}}}, r"at '/resources'.*requests"),
        ({"tls": {"secret": "-----BEGIN"}}, r"at '/tls/secret': '-----BEGIN' does not match pattern"),
        ({"autoscaling": {"minReplicas": 0}}, r"minReplicas is 0, but without .* nothing would start the first pod"),
        ({"autoscaling": {"minReplicas": 9, "maxReplicas": 3}}, r"minReplicas is larger than autoscaling.maxReplicas"),
        ({"tls": {"secret": "x"}, "gateway": {"enabled": True}}, r"calls the pods without TLS; set gateway.tlsSecret"),
        ({"tls": {"clientCa": True}}, r"tls.clientCa is true, but tls.secret, which has ca.crt, is not set"),
    ],
)
def test_wrong_values_are_refused_with_a_sentence(values: Values, said: str, tmp_path: Path) -> None:
    done = helm(tmp_path, values, "template", "linnaeus")
    assert done.returncode != 0 and done.stdout == ""
    assert re.search(said, done.stderr, re.DOTALL), done.stderr


@pytest.mark.parametrize("command", [each for _, each in shell_commands() if each.startswith("helm ")])
def test_what_the_pages_install_is_rendered(command: str, tmp_path: Path) -> None:
    program, install, *words = shlex.split(command)
    assert (program, install) == ("helm", "install")
    words = [word for word in words if word != "--create-namespace"]
    done = subprocess.run(
        [str(HELM), "template", *words],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={"HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert {each["metadata"]["name"].split("-")[0] for each in yaml.safe_load_all(done.stdout) if each} == {words[0]}


def test_the_chart_has_the_releases_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert chart["version"] == chart["appVersion"] == version
