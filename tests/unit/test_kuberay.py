"""The files for Kubernetes, as far as they can be checked without a cluster."""

import copy
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray.serve.schema import ServeDeploySchema

from recsys.config import parse_config
from recsys.serving.host.environment import FAST, node_environment
from recsys.serving.host.folder import LONGEST_PATH
from recsys.serving.settings import ServeSettings
from tests.support.kubernetes import FOLDER, documents, faults, resources

FILES = [path for path in sorted(FOLDER.glob("*.yaml")) if path.stem != "kustomization"]
COMPONENT = "app.kubernetes.io/component"
DASHBOARD, METRICS = 8265, 8080


@pytest.fixture(scope="module")
def schemas(shared: Path) -> Path:
    """The folder of the operator's schemas."""
    return shared / "kuberay"


def cluster_of(resource: dict[str, Any]) -> dict[str, Any]:
    """The Ray cluster of a RayService or RayJob."""
    spec = resource["spec"]
    cluster: dict[str, Any] = spec["rayClusterConfig" if resource["kind"] == "RayService" else "rayClusterSpec"]
    return cluster


def pods_of(resource: dict[str, Any]) -> list[dict[str, Any]]:
    """The pod templates of a Ray cluster, that of the head first."""
    cluster = cluster_of(resource)
    return [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


SERVICE, TRAIN = documents("service.yaml")[0], documents("train.yaml")[0]
CLUSTERS = pytest.mark.parametrize("resource", [SERVICE, TRAIN], ids=["service", "train"])
PODS = pytest.mark.parametrize("pod", [*pods_of(SERVICE), *pods_of(TRAIN)], ids=["sh", "sw", "th", "tw"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_resource_fits_its_schema(path: Path, schemas: Path) -> None:
    for resource in documents(path.name):
        assert faults(resource, schemas) == []


WORKER = ("spec", "rayClusterConfig", "workerGroupSpecs", 0)
TYPOS = [
    ("service.yaml", ("metadata",), "label"),
    ("service.yaml", ("spec",), "serveConfig"),
    ("service.yaml", ("spec", "upgradeStrategy", "clusterUpgradeOptions"), "stepPercent"),
    ("service.yaml", ("spec", "rayClusterConfig", "authOptions"), "secret"),
    ("service.yaml", WORKER, "maxReplica"),
    ("service.yaml", (*WORKER, "template", "spec"), "volume"),
    ("service.yaml", (*WORKER, "template", "spec", "containers", 0), "redinessProbe"),
    ("service.yaml", (*WORKER, "template", "spec", "containers", 0, "readinessProbe", "httpGet"), "paths"),
    ("train.yaml", ("spec",), "activeDeadline"),
    ("schedule.yaml", ("spec", "jobTemplate", "spec"), "backoff"),
    ("network.yaml", ("spec",), "ingres"),
    ("disruption.yaml", ("spec",), "maxUnavailables"),
]


@pytest.mark.parametrize(("name", "place", "field"), TYPOS, ids=[field for *_, field in TYPOS])
def test_a_field_that_does_not_exist_is_refused(
    name: str, place: tuple[str | int, ...], field: str, schemas: Path
) -> None:
    """The schemas themselves would let it through."""
    resource = copy.deepcopy(documents(name)[0])
    part: Any = resource
    for key in place:
        part = part[key]
    part[field] = 1
    assert any(field in fault for fault in faults(resource, schemas))


def test_a_wrong_type_and_a_wrong_word_are_refused(schemas: Path) -> None:
    resource = copy.deepcopy(SERVICE)
    cluster_of(resource)["authOptions"]["mode"] = "tokens"
    cluster_of(resource)["workerGroupSpecs"][0]["replicas"] = "two"
    assert len(faults(resource, schemas)) == 2


@PODS
def test_every_node_has_the_environment_before_ray_starts(pod: dict[str, Any]) -> None:
    """KubeRay writes the command that starts Ray, so the variables are those of the pod."""
    [container], [prepare] = pod["spec"]["containers"], pod["spec"]["initContainers"]
    *command, folder = prepare["command"]
    given = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert {name: given.get(name) for name in FAST} == FAST
    assert {name: given.get(name) for name in node_environment(Path(folder))} == node_environment(Path(folder))
    assert command[:2] == ["python", "-m"]
    assert importlib.util.find_spec(command[2]) is not None
    assert len(folder) <= LONGEST_PATH
    shared_folder = next(mount for mount in container["volumeMounts"] if folder.startswith(mount["mountPath"] + "/"))
    assert shared_folder in prepare["volumeMounts"]
    assert prepare["image"] == container["image"]
    assert "command" not in container  # a command of our own would replace that of KubeRay


@PODS
def test_pods_have_few_rights(pod: dict[str, Any]) -> None:
    spec = pod["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    for container in (*spec["containers"], *spec["initContainers"]):
        assert container["securityContext"] == {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]


@PODS
def test_ray_is_checked_without_programs_that_the_image_lacks(pod: dict[str, Any]) -> None:
    [container] = pod["spec"]["containers"]
    probes = [container[name] for name in ("livenessProbe", "readinessProbe") if name in container]
    assert probes
    assert all("httpGet" in probe for probe in probes)


@CLUSTERS
def test_the_cluster_is_of_this_ray_and_has_a_token(resource: dict[str, Any]) -> None:
    cluster = cluster_of(resource)
    assert cluster["rayVersion"] == ray.__version__
    assert cluster["authOptions"] == {"mode": "token", "secretName": "recsys-ray-token"}
    assert "RAY_AUTH_TOKEN" not in str(resource)


@CLUSTERS
def test_accounts_exist_and_workers_have_no_token_of_the_api(resource: dict[str, Any]) -> None:
    accounts = {one["metadata"]["name"] for one in documents("accounts.yaml") if one["kind"] == "ServiceAccount"}
    head, *workers = (pod["spec"] for pod in pods_of(resource))
    assert {spec["serviceAccountName"] for spec in (head, *workers)} <= accounts
    assert head["serviceAccountName"] not in {spec["serviceAccountName"] for spec in workers}
    assert not any(spec["automountServiceAccountToken"] for spec in workers)


def test_the_service_can_be_upgraded_step_by_step() -> None:
    """The operator's own conditions, which no schema has."""
    strategy = SERVICE["spec"]["upgradeStrategy"]
    options = strategy["clusterUpgradeOptions"]
    assert strategy["type"] == "NewClusterWithIncrementalUpgrade"
    assert cluster_of(SERVICE)["enableInTreeAutoscaling"] is True
    assert 0 < options["stepSizePercent"] <= options["maxSurgePercent"] <= 100
    assert options["intervalSeconds"] > 0


def test_the_application_has_settings_that_exist_and_fits_its_workers() -> None:
    config = yaml.safe_load(SERVICE["spec"]["serveConfigV2"])
    [application] = ServeDeploySchema.model_validate(config).applications
    settings = parse_config(ServeSettings, {**application.args, "registry": "s3://bucket/registry"})
    [workers] = cluster_of(SERVICE)["workerGroupSpecs"]
    cpus = int(workers["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"])
    assert settings.ingress[0] * settings.cpus <= workers["minReplicas"] * cpus
    assert settings.ingress[1] * settings.cpus <= workers["maxReplicas"] * cpus
    assert config["http_options"] == {"host": "0.0.0.0", "port": 8000}


def policies() -> dict[str, dict[str, Any]]:
    """The specs of the network policies, by the component of the pods that they are for."""
    specs = [one["spec"] for one in documents("network.yaml")]
    return {spec["podSelector"]["matchLabels"][COMPONENT]: spec for spec in specs}


def outside(rule: dict[str, Any]) -> bool:
    """Whether a rule lets in pods of other namespaces than the own one."""
    return any("namespaceSelector" in peer for peer in rule["from"])


def test_every_pod_has_a_policy() -> None:
    schedule = documents("schedule.yaml")[0]["spec"]["jobTemplate"]["spec"]["template"]
    labels = [pod["metadata"]["labels"] for pod in (*pods_of(SERVICE), *pods_of(TRAIN), schedule)]
    selectors = [spec["podSelector"]["matchLabels"] for spec in policies().values()]
    assert all(any(selector.items() <= given.items() for selector in selectors) for given in labels)
    assert all(spec["policyTypes"] == ["Ingress"] for spec in policies().values())
    assert "app.kubernetes.io/name" not in {
        name for given in labels for name in given
    }  # KubeRay's services need its own


OPENED: dict[str | None, set[int]] = {None: {8000}, "kuberay-operator": {8000, DASHBOARD}, "prometheus": {METRICS}}
"""The ports that the pods of a name may reach from other namespaces; None: all pods, as those of a gateway."""


def test_outside_the_dashboard_is_the_operators_and_the_metrics_are_those_of_prometheus() -> None:
    for spec in policies().values():
        for rule in spec.get("ingress", []):
            assert rule["from"], "a rule without peers lets everybody in"
            if not outside(rule):
                assert rule["from"] == [{"podSelector": spec["podSelector"]}]  # pods of the same kind
                continue
            ports = {port["port"] for port in rule["ports"]}
            for peer in rule["from"]:
                selected = peer.get("podSelector", {}).get("matchLabels", {})
                assert ports <= OPENED[selected.get("app.kubernetes.io/name")]
    assert "ingress" not in policies()["schedule"]
    assert SERVICE["spec"]["excludeHeadPodFromServeSvc"] is True


def test_a_drain_takes_one_worker_at_a_time_and_no_head() -> None:
    budgets = {one["spec"]["selector"]["matchLabels"]["ray.io/node-type"]: one for one in documents("disruption.yaml")}
    assert budgets["worker"]["spec"]["maxUnavailable"] == 1
    assert budgets["head"]["spec"]["maxUnavailable"] == 0


def test_every_job_is_gone_before_the_next_one_of_its_name() -> None:
    """KubeRay deletes the cluster of a job by itself, but not the job."""
    day = 86_400
    rules = TRAIN["spec"]["deletionStrategy"]["deletionRules"]
    gone = [rule["condition"] for rule in rules if rule["policy"] == "DeleteSelf"]
    ends = {one.get("jobStatus", one.get("jobDeploymentStatus")): one["ttlSeconds"] for one in gone}
    assert set(ends) == {"SUCCEEDED", "FAILED", "Failed"}
    assert max(ends.values()) + TRAIN["spec"]["activeDeadlineSeconds"] < day
    assert "shutdownAfterJobFinishes" not in TRAIN["spec"]  # KubeRay refuses both
    *_, weekday = documents("schedule.yaml")[0]["spec"]["schedule"].split()
    assert weekday != "*"  # a comparison needs retrain.min_days of new events


def test_the_schedule_may_make_jobs_and_nothing_else() -> None:
    by_kind = {one["kind"]: one for one in documents("accounts.yaml") if one["metadata"]["name"] == "recsys-schedule"}
    assert by_kind["Role"]["rules"] == [{"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create"]}]
    assert by_kind["RoleBinding"]["subjects"] == [{"kind": "ServiceAccount", "name": "recsys-schedule"}]
    assert [one["kind"] for one in resources() if one["kind"].endswith("Role")] == ["Role"]


def test_kustomize_lists_every_file() -> None:
    listed = documents("kustomization.yaml")[0]
    [generated] = listed["configMapGenerator"]
    assert {*listed["resources"], *generated["files"]} == {
        path.name for path in FOLDER.iterdir() if path.suffix in (".yaml", ".py") and path.stem != "kustomization"
    }
