"""The Kubernetes manifests: valid by the published schemas, and of one mind with the program."""

import copy
import itertools
import json
import re
from pathlib import Path

import pytest

from deepmad_jax.config.load import parse
from deepmad_jax.main import INTERRUPTED, _take_flag
from deepmad_jax.processes.join import _read
from deepmad_jax.processes.together import LOST

yaml = pytest.importorskip("yaml")
jsonschema = pytest.importorskip("jsonschema")

ROOT = Path(__file__).parent.parent
MANIFESTS = sorted((ROOT / "launch").glob("*.yaml"))
NAMES = [path.stem for path in MANIFESTS]
SIGTERM_SAVED = 143
USERS_MISTAKE = 2
# The oldest in which nothing of the manifests is behind a feature gate, and the newest.
KUBERNETES = ("1.33", "1.37")


def _strict(schema):
    """The schema, with fields refused that it does not know: the API server drops such silently."""
    if isinstance(schema, dict):
        made = {key: _strict(value) for key, value in schema.items()}
        named = isinstance(made.get("properties"), dict)
        open_ended = made.get("x-kubernetes-preserve-unknown-fields")
        if named and made.get("type") == "object" and not open_ended:
            made.setdefault("additionalProperties", False)
        return made
    return [_strict(item) for item in schema] if isinstance(schema, list) else schema


@pytest.fixture(scope="module")
def jobset_schema():
    schema = json.loads((ROOT / "tests/fixtures/jobset_v1alpha2.json").read_text())["schema"]
    return jsonschema.Draft202012Validator(_strict(schema))


def read(path):
    (manifest,) = yaml.safe_load_all(path.read_text())
    return manifest


def jobs_of(manifest):
    """Its jobs as Kubernetes gets them, names of the replicated jobs with them."""
    return {
        job["name"]: {"apiVersion": "batch/v1", "kind": "Job", "metadata": {}, **job["template"]}
        for job in manifest["spec"]["replicatedJobs"]
    }


def container_of(manifest):
    (job,) = jobs_of(manifest).values()
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return container


@pytest.mark.parametrize("path", MANIFESTS, ids=NAMES)
def test_manifest_is_a_jobset_by_the_published_schema(path, jobset_schema):
    assert [error.message for error in jobset_schema.iter_errors(read(path))] == []
    assert read(path)["apiVersion"] == "jobset.x-k8s.io/v1alpha2"


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("path", MANIFESTS, ids=NAMES)
def test_jobs_of_a_manifest_are_valid_by_kubernetes_own_schema(path, version):
    validator = pytest.importorskip("kubernetes_validate")
    for job in jobs_of(read(path)).values():
        assert validator.validate(job, version, strict=True) == version


# Where in a JobSet, and what is wrong there.
WRONG = [
    (("spec",), "replicatedJob", []),
    (("spec", "failurePolicy", "rules", 0), "action", "Restart"),
    (("spec", "replicatedJobs", 0, "template", "spec"), "paralelism", 2),
    (("spec", "replicatedJobs", 0, "template", "spec"), "completions", "four"),
    (("spec", "replicatedJobs", 0, "template", "spec", "podFailurePolicy", "rules", 0), "when", 1),
    (("spec", "replicatedJobs", 0, "template", "spec", "template", "spec"), "container", []),
]


@pytest.mark.parametrize(("place", "name", "value"), WRONG)
def test_schemas_find_a_mistake_in_a_manifest(place, name, value, jobset_schema):
    manifest = copy.deepcopy(read(ROOT / "launch/gke_jobset.yaml"))
    target = manifest
    for step in place:
        target = target[step]
    target[name] = value
    assert not jobset_schema.is_valid(manifest)
    if "template" in place:
        validator = pytest.importorskip("kubernetes_validate")
        (job,) = jobs_of(manifest).values()
        for version in KUBERNETES:
            with pytest.raises(validator.ValidationError):
                validator.validate(job, version, strict=True)


def command_of(manifest, index):
    """The program's arguments in pod ``index``, and the config and workdir they give."""
    words = [w.replace("$(JOB_COMPLETION_INDEX)", str(index)) for w in _words(manifest)]
    argv, distributed = _take_flag(words[3:], "distributed")
    return distributed, *parse(argv)


def _words(manifest):
    container = container_of(manifest)
    words = container["command"]
    assert words[:4] == ["python", "-u", "-m", "deepmad_jax.main"]
    return words


def test_pods_of_a_run_are_the_processes_0_to_n_and_meet_at_the_first(monkeypatch):
    monkeypatch.chdir(ROOT)
    manifest = read(ROOT / "launch/gke_jobset.yaml")
    ((name, job),) = jobs_of(manifest).items()
    count = job["spec"]["completions"]
    assert job["spec"]["parallelism"] == count  # each waits for all
    assert job["spec"]["completionMode"] == "Indexed"
    assert manifest["spec"]["network"]["enableDNSHostnames"]
    # JobSet's names of pods, job 0 and pod 0 of it, in the service that is called as the JobSet.
    jobset = manifest["metadata"]["name"]
    port = container_of(manifest)["ports"][0]["containerPort"]
    for index in range(count):
        distributed, config, workdir = command_of(manifest, index)
        place = _read(distributed)
        assert (place.count, place.index) == (count, index)
        assert place.address == f"{jobset}-{name}-0-0.{jobset}:{port}"
        assert (config.name, str(workdir)) == ("r18", "/runs/r18")


def test_pods_of_a_study_share_the_papers_65_networks(monkeypatch):
    monkeypatch.chdir(ROOT)
    manifest = read(ROOT / "launch/gke_study.yaml")
    (job,) = jobs_of(manifest).values()
    assert job["spec"]["completionMode"] == "Indexed"
    done = []
    for index in range(job["spec"]["completions"]):
        distributed, config, workdir = command_of(manifest, index)
        assert (distributed, config.jobs, str(workdir)) == (None, ("study",), "/runs/random_cifar")
        done += config.part.of(range(config.sample.count))
    assert sorted(done) == list(range(65))


@pytest.mark.parametrize("path", MANIFESTS, ids=NAMES)
def test_what_a_manifest_mounts_is_there_and_the_workdir_is_on_it(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    manifest = read(path)
    (job,) = jobs_of(manifest).values()
    volumes = {volume["name"]: volume for volume in job["spec"]["template"]["spec"]["volumes"]}
    mounts = {m["mountPath"]: m["name"] for m in container_of(manifest)["volumeMounts"]}
    assert set(mounts.values()) == set(volumes)
    _, _, workdir = command_of(manifest, 0)
    assert "persistentVolumeClaim" in volumes[mounts[str(workdir.parent)]]


def statuses(path, action):
    """Exit statuses on which a manifest does so."""
    (job,) = jobs_of(read(path)).values()
    rules = job["spec"]["podFailurePolicy"]["rules"]
    codes = [rule["onExitCodes"]["values"] for rule in rules if rule["action"] == action
             and "onExitCodes" in rule]  # fmt: skip
    return set(itertools.chain(*codes))


def test_manifests_go_by_the_programs_exit_statuses():
    assert statuses(ROOT / "launch/gke_jobset.yaml", "FailJob") == {SIGTERM_SAVED, LOST}
    assert statuses(ROOT / "launch/gke_study.yaml", "FailIndex") == {USERS_MISTAKE}
    assert INTERRUPTED not in {SIGTERM_SAVED, LOST, USERS_MISTAKE}
    # The failure of a Job by its rules has this name; the rule of the JobSet goes by it.
    (rule,) = read(ROOT / "launch/gke_jobset.yaml")["spec"]["failurePolicy"]["rules"]
    assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]
    # So that those of index k alone are counted.
    (job,) = jobs_of(read(ROOT / "launch/gke_study.yaml")).values()
    assert "backoffLimitPerIndex" in job["spec"]


@pytest.mark.parametrize("path", MANIFESTS, ids=NAMES)
def test_places_to_change_together_are_marked_alike(path):
    """As the head of a manifest promises: the number that is in the places marked so."""
    text = path.read_text()
    mark = "HOSTS" if path.stem == "gke_jobset" else "PARTS"
    count = jobs_of(read(path)).popitem()[1]["spec"]["completions"]
    marked = re.findall(rf"^.*?(\d+)\s+# {mark}", text, re.M)
    assert set(marked) == {str(count)}
    assert f"{mark}, in three" in text or f"in three\n# places marked {mark}" in text
