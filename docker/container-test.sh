#!/usr/bin/env bash
# Builds the image and proves it, without Docker Engine and without an image registry: `make container-test`.
#
# Needs root on Debian with podman, runc and mmdebstrap. The base image is a stand-in for the Dockerfile's, made from
# this machine's own Debian packages and kept between runs. Exit 0: passed, or SKIP said in one line; else it failed.
#
#   CONTAINER_SMOKE_INSTALL=1   lets it apt-get those three
#   CONTAINER_SMOKE=require     makes a SKIP a failure
#   CONTAINER_BUILD_ARGS        arguments of the build, separated by spaces; what is left out is torch==2.13.0
#   CONTAINER_CACHE             folder that keeps the stand-in
#   LINNAEUS_BIN                folder with this project's commands for the calls from outside; PATH if left out
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
base=$(sed -nE 's/^ARG BASE=(.+)$/\1/p' docker/Dockerfile)
image=localhost/linnaeus:test
cache=${CONTAINER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/linnaeus-container-test}
read -ra build_args <<<"${CONTAINER_BUILD_ARGS:-TORCH=torch==2.13.0}"
tools=(podman runc mmdebstrap)
export PATH=${LINNAEUS_BIN:+$LINNAEUS_BIN:}$PATH
# The calls from outside are this project's own commands: settings of whoever runs this must not lead them elsewhere.
unset "${!LINNAEUS_@}"

say() { printf 'container test: [%4d s] %s\n' "$SECONDS" "$*"; }
fail() { echo "container test: FAIL: $*" >&2; exit 1; }
skip() {
  echo "container test: SKIP: $*"
  [[ ${CONTAINER_SMOKE:-} != require ]] || exit 1
  exit 0
}
absent() { for tool in "${tools[@]}"; do command -v "$tool" >/dev/null || printf '%s ' "$tool"; done; }

require_tools() {
  [[ $(uname -s) == Linux && $(id -u) == 0 ]] || skip "needs root on Linux"
  if [[ -n $(absent) && ${CONTAINER_SMOKE_INSTALL:-} == 1 ]] && command -v apt-get >/dev/null; then
    say "installing ${tools[*]}"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${tools[@]}"; } \
      </dev/null >/dev/null 2>&1 || skip "apt-get could not install ${tools[*]}"
  fi
  [[ -z $(absent) ]] || skip "not installed: $(absent)"
  command -v linnaeus-client >/dev/null || fail "no linnaeus-client on the PATH; run it as: make container-test"
}

smaller() { [[ $1 != unlimited ]] && (( $1 < $2 )) && echo "$1" || echo "$2"; }

# Everything of podman's lies in one folder that goes away at the end. Where this runs may itself be a container or a
# small virtual machine: no systemd (so neither its journal nor its control groups), no right to raise limits, no
# network namespaces.
prepare_podman() {
  work=$(mktemp -d "${TMPDIR:-/tmp}/linnaeus-container.XXXXXX")
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  printf '[storage]\ndriver = "overlay"\ngraphroot = "%s/storage"\nrunroot = "%s/run"\n' "$work" "$work" \
    >"$work/storage.conf"
  local files processes
  files=$(smaller "$(ulimit -Hn)" 8192)
  processes=$(smaller "$(ulimit -Hu)" 4096)
  cat >"$work/containers.conf" <<EOF
[containers]
netns = "host"
log_driver = "k8s-file"
default_ulimits = ["nofile=$files:$files", "nproc=$processes:$processes"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
tmp_dir = "$work/tmp"
EOF
  export CONTAINERS_CONF=$work/containers.conf CONTAINERS_STORAGE_CONF=$work/storage.conf
  export BUILDAH_ISOLATION=chroot TMPDIR=$work
  unset DOCKER_HOST CONTAINER_HOST
  name=linnaeus-test-$$
}

clean_up() {
  podman rm -f -t 0 "$name" "$name-own" >/dev/null 2>&1 || true
  podman rm -af >/dev/null 2>&1 || true
  podman umount -a >/dev/null 2>&1 || true
  umount "$work/storage/overlay" >/dev/null 2>&1 || true
  rm -rf --one-file-system "$work"
}

make_base() {
  local archive=$cache/${base//[:\/]/_}.tar sources=/etc/apt/sources.list.d/debian.sources
  [[ -f $sources ]] || sources=/etc/apt/sources.list
  mkdir -p "$cache"
  if [[ ! -s $archive ]]; then
    say "making a stand-in for $base"
    mmdebstrap --quiet --format=tar --mode=root --variant=minbase \
      --include=python3,python3-venv,python3-pip,ca-certificates \
      --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
      --dpkgopt='path-exclude=/usr/share/locale/*' \
      --customize-hook='ln -s /usr/bin/python3 "$1/usr/local/bin/python3"' \
      --customize-hook='rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED' \
      "${base##*-}" "$archive.$$" "$sources" </dev/null >"$work/base.log" 2>&1 \
      || { rm -f "$archive.$$"; skip "mmdebstrap could not make a base: $(tail -n 1 "$work/base.log" | cut -c-80)"; }
    mv "$archive.$$" "$archive"
  fi
  podman import -q --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin' \
    "$archive" "localhost/$base" >/dev/null
}

build() {
  local mounts argument
  # Where packages come from is this machine's affair: mounted for the build's commands, part of no layer.
  mapfile -t mounts < <(python3 docker/pip_configuration.py "$work/pip.conf")
  for argument in "${build_args[@]}"; do mounts+=(--build-arg "$argument"); done
  say "building with ${build_args[*]} (minutes)"
  timeout 2400 nice -n 10 podman build --quiet --pull=never --layers=false --format docker --network host \
    "${mounts[@]}" --build-arg REVISION="$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
    -f docker/Dockerfile -t "$image" . </dev/null >"$work/build.log" 2>&1 \
    || { tail -n 25 "$work/build.log" | sed -E 's#https?://[^ ]+#(index)#g' >&2; fail "the build failed"; }
  say "built: $(( $(podman image inspect "$image" --format '{{.Size}}') / 1000000 )) MB"
}

free_ports() {
  python3 -c 'import socket
taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(each.getsockname()[1] for each in taken))'
}

# As the manifests run it: read-only, nothing but a small /tmp to write to, no capabilities, no way to get any.
start() { # NAME [OPTIONS…]
  read -r port metrics_port http_port < <(free_ports)
  podman run -d --name "$1" "${@:2}" --network host \
    --read-only --read-only-tmpfs=false --tmpfs /tmp:rw,size=64m,mode=1777 \
    --cap-drop all --security-opt no-new-privileges --memory 3g --memory-swap 3g --pids-limit 256 \
    -e LINNAEUS_PORT="$port" -e LINNAEUS_METRICS_PORT="$metrics_port" -e LINNAEUS_HTTP_PORT="$http_port" \
    "$image" >/dev/null 2>"$work/start.log" \
    || { cat "$work/start.log" >&2; fail "the container did not start"; }
  for ((i = 0; i < 600; i++)); do
    if podman healthcheck run "$1" >/dev/null 2>&1; then return; fi
    [[ $(podman inspect "$1" --format '{{.State.Status}}') == running ]] || break
    sleep 0.2
  done
  podman logs "$1" >&2 || true
  fail "the container never became healthy"
}

seconds_to_serving() { # from the container's start to the line of its log that says so
  local began said
  began=$(podman inspect "$name" --format '{{.State.StartedAt.UnixMilli}}')
  said=$(date -d "$(podman logs -t "$name" 2>&1 | grep '"event": "serving"' | head -n 1 | cut -d' ' -f1)" +%s%3N)
  echo "$(( said - began )) ms"
}

check_image() {
  local user
  user=$(podman image inspect "$image" --format '{{.User}}')
  [[ $user == 10001:10001 ]] || fail "the image runs as user ${user:-root}"
  [[ $(podman image inspect "$image" --format '{{index .Labels "org.opencontainers.image.title"}}') == linnaeus ]] \
    || fail "the image has no labels"
  podman exec "$name" python3 -I -c '
import os, pathlib, shutil
assert (os.getuid(), os.getgid()) == (10001, 10001), "user"
for folder in ("/", "/opt/linnaeus", "/models", "/models/lenet/1"):
    try:
        pathlib.Path(folder, "written").touch()
    except OSError:
        continue
    raise SystemExit(f"{folder} can be written to")
pathlib.Path("/tmp/written").touch()
status = pathlib.Path("/proc/self/status").read_text()
for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb"):
    assert f"Cap{kind}:\t{0:016x}" in status, f"Cap{kind} has a capability"
assert "NoNewPrivs:\t1" in status
found = [tool for tool in ("cc", "gcc", "g++", "clang", "ld", "make") if shutil.which(tool)]
assert not found, f"compilers: {found}"
' || fail "user, capabilities, writable folders or compilers"
  podman exec --user 0:0 "$name" /opt/linnaeus/bin/python -I -c '
import importlib.metadata, importlib.util, pathlib
for package in ("torchvision", "pip", "matplotlib"):
    assert importlib.util.find_spec(package) is None, f"{package} is in the image"
for folder in ("/root/.cache", "/source", "/export_models.py", "/list_packages.py", "/constraints.txt"):
    assert not pathlib.Path(folder).exists(), f"{folder} is in the image"
listed = [line.split("\t") for line in pathlib.Path("/opt/linnaeus/packages.tsv").read_text().splitlines()]
installed = {each.metadata["Name"] for each in importlib.metadata.distributions()}
assert {name for name, _, _ in listed} == installed and "torch" in installed, "packages.tsv does not list what there is"
' || fail "something is in the image that does not belong there"
}

check_from_outside() {
  linnaeus-server --port "$port" healthcheck || fail "the host gets no health"
  local labels
  labels=$(linnaeus-client classify pictures/coffee.jpg --model efficientnet_lite0 --server "127.0.0.1:$port" \
    --output jsonl --top-k 1; linnaeus-client classify pictures/digits/7.png --model lenet \
    --server "127.0.0.1:$port" --output jsonl --top-k 1) || fail "the client got no answer"
  if ! grep -q '"espresso"' <<<"$labels" || ! grep -q '"7"' <<<"$labels"; then fail "wrong answers: $labels"; fi
  python3 - "$metrics_port" <<'EOF' || fail "the metrics do not tell of the calls"
import sys, urllib.request
body = urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/metrics", timeout=10).read().decode()
assert 'linnaeus_request_seconds_count{model="efficientnet_lite0",version="1"} 1.0' in body, body
EOF
  python3 - "$http_port" <<'EOF' || fail "HTTP gives another answer, or no console"
import json, sys, urllib.request
def ask(path, body=None):
    return urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}{path}", body, timeout=30).read()
picture = open("pictures/coffee.jpg", "rb").read()
answer = json.loads(ask("/v1/models/efficientnet_lite0:classify", picture))
assert answer["classes"][0]["label"] == "espresso", answer
assert ask("/readyz") == b"ok\n"
assert b"/console/main.js" in ask("/") and ask("/console/main.js")
assert "/v1/models" in json.loads(ask("/openapi.json"))["paths"]
EOF
  say "healthy, coffee.jpg is an espresso and 7.png a 7; memory $(podman stats --no-stream --format '{{.MemUsage}}' "$name")"
}

check_stop() { # NAME
  local began code
  began=$(date +%s%3N)
  podman stop -t 20 "$1" >/dev/null 2>&1
  code=$(podman inspect "$1" --format '{{.State.ExitCode}}')
  [[ $code == 0 ]] || { podman logs "$1" >&2 || true; fail "exit code $code after SIGTERM"; }
  say "SIGTERM: exit code 0 after $(( $(date +%s%3N) - began )) ms"
}

check_own_models() {
  mkdir -p "$work/models"
  podman cp "$name:/models/lenet" "$work/models/mine" >/dev/null
  sed -i 's/"name": "lenet"/"name": "mine"/' "$work/models/mine/1/manifest.json"
  start "$name-own" -v "$work/models:/models:ro"
  local models
  models=$(linnaeus-client models --server "127.0.0.1:$port" --json)
  if ! grep -q '"mine"' <<<"$models" || grep -q '"lenet"' <<<"$models"; then
    fail "-v does not replace the models: $models"
  fi
  say "models mounted with -v are served instead"
  check_stop "$name-own"
}

require_tools
prepare_podman
make_base
build
start "$name"
say "SERVING $(seconds_to_serving) after its start"
check_image
check_from_outside
check_stop "$name"
check_own_models
say "PASS"
