"""Joining several processes: what a cluster says, who is missing, and the message for each."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from jax._src.clusters import ClusterEnv

from deepmad_jax.errors import InvalidConfig, UserError
from deepmad_jax.main import main
from deepmad_jax.processes import join
from deepmad_jax.processes.detect import CLUSTERS, detect
from deepmad_jax.processes.meet import Place, meet
from launch.local_processes import free_port

ROOT = Path(__file__).parent.parent
PATIENCE_SECONDS = 120
"""For a busy machine; nothing below waits so long where it is idle."""

SLURM = {
    "SLURM_JOB_ID": "4096",
    "SLURM_STEP_NODELIST": "node[07-08]",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
}
MPI = {
    "OMPI_MCA_orte_hnp_uri": "8192.0;tcp://10.96.0.1,10.148.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("SLURM_", "OMPI_", "KUBERNETES_", "JAX_COORDINATOR", "DEEPMAD_")):
            monkeypatch.delenv(name)
    for name in ("CUDA_VISIBLE_DEVICES", "JAX_LOCAL_DEVICE_IDS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def surroundings(monkeypatch):
    """Sets environment variables."""
    return lambda values: [monkeypatch.setenv(name, value) for name, value in values.items()]


def start(spec, workdir, seconds):
    """The command in a process of its own."""
    command = [sys.executable, "-m", "deepmad_jax.main", "--config", "configs/digits.py"]
    return subprocess.Popen(
        [*command, "--workdir", str(workdir), f"--distributed={spec}"],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "DEEPMAD_JOIN_SECONDS": str(seconds)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    said, complaint = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, said, complaint


def test_auto_without_a_cluster_ends_with_one_message(tmp_path, capsys):
    arguments = ["--config", str(ROOT / "configs/digits.py"), "--workdir", str(tmp_path / "run")]
    assert main(["main", *arguments, "--distributed=auto"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("error:")) == ("", 1)
    assert "no SLURM step, Open MPI, Kubernetes job or TPU pod" in err
    assert "--distributed=HOST:PORT,COUNT,INDEX" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"SLURM_JOB_ID": "7", "SLURM_PROCID": "0"}, "start the command by srun"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "OMPI_COMM_WORLD_RANK"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "gke_jobset.yaml"),
    ],
)
def test_half_a_cluster_is_told_what_it_lacks(surroundings, values, words, monkeypatch):
    monkeypatch.setitem(sys.modules, "kubernetes", None)  # as where it is not installed
    surroundings(values)
    with pytest.raises(UserError, match="finds no cluster") as caught:
        detect(1)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("values", "name", "place"),
    [
        (SLURM, "SLURM", Place("node07:61440", 2, 1)),
        (SLURM | {"SLURM_STEP_NUM_NODES": "1"}, "SLURM", Place("node07:61440", 2, 1, [0])),
        (SLURM | {"JAX_COORDINATOR_PORT": "77"}, "SLURM", Place("node07:77", 2, 1)),
        (MPI, "Open MPI", Place("10.96.0.1:61442", 4, 3, [1])),
        (MPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "1"}, "Open MPI", Place("10.96.0.1:61442", 4, 3)),
        (MPI | {"CUDA_VISIBLE_DEVICES": "5"}, "Open MPI", Place("10.96.0.1:61442", 4, 3)),
        (MPI | {"JAX_LOCAL_DEVICE_IDS": "5"}, "Open MPI", Place("10.96.0.1:61442", 4, 3)),
        (
            MPI | {"CUDA_VISIBLE_DEVICES": "4,5"},
            "Open MPI",
            Place("10.96.0.1:61442", 4, 3, [1]),
        ),
    ],
)
def test_cluster_is_named_and_a_process_has_all_devices_of_a_host_to_itself(
    surroundings, capsys, values, name, place
):
    surroundings(values)
    assert detect(1) == place
    assert capsys.readouterr().out == f"--distributed=auto finds {name}.\n"


def test_cluster_that_does_not_say_enough_is_named(surroundings):
    surroundings(MPI | {"OMPI_COMM_WORLD_SIZE": "many"})
    with pytest.raises(UserError, match="finds Open MPI, which does not say which of how many"):
        detect(1)


def test_every_cluster_that_jax_detects_has_a_name():
    found = {c.__name__ for c in ClusterEnv._cluster_types if not c.opt_in_only_method}
    assert found - {"BaseTpuCluster"} == set(CLUSTERS)


def test_wrong_guess_is_printed_before_anything_waits(surroundings, capsys):
    surroundings(SLURM | {"SLURM_STEP_NODELIST": "host.invalid"})
    with pytest.raises(
        UserError, match=r"cannot reach process 0 at host\.invalid:61440 for 0\.3 s"
    ):
        join("auto", 0.3)
    assert capsys.readouterr().out == (
        "--distributed=auto finds SLURM.\n"
        "This is process 1 of 2; they meet at host.invalid:61440.\n"
    )


def test_unreachable_coordinator_ends_with_one_message_and_status_2(tmp_path):
    address = f"127.0.0.1:{free_port()}"
    status, said, complaint = finish(start(f"{address},2,1", tmp_path, 0.3))
    assert (status, complaint.count("\n")) == (2, 2), complaint
    assert f"Process 1 of 2 cannot reach process 0 at {address} for 0.3 s" in complaint
    assert said == f"This is process 1 of 2; they meet at {address}.\n"


def test_missing_process_is_named_and_ends_the_first_with_status_2(tmp_path):
    address = f"127.0.0.1:{free_port()}"
    status, _, complaint = finish(start(f"{address},2,0", tmp_path, 0.3))
    assert (status, complaint.count("\n")) == (2, 2), complaint
    assert f"1 of 2 processes did not come to {address} within 0.3 s: number 1." in complaint


def test_two_processes_join_and_tell_their_devices(tmp_path):
    code = "import sys; from deepmad_jax.processes import join; join(sys.argv[1])"
    address = f"127.0.0.1:{free_port()}"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, f"{address},2,{index}"],
            env=os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "3"},
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for index in range(2)
    ]
    for index, process in enumerate(both):
        said = process.communicate(timeout=PATIENCE_SECONDS)[0]
        assert process.returncode == 0
        assert f"process {index} of 2: 3 local and 6 global devices (cpu)" in said


@pytest.mark.parametrize(
    "spec",
    ["10.0.0.1,2,0", "10.0.0.1:4321,2", "h:4321,2,-1", "h:0,2,0", "h:65536,2,0", "h:1,2,2", "x"],
)
def test_spec_that_means_nothing_is_refused(spec):
    with pytest.raises(InvalidConfig, match="--distributed"):
        join(spec)


@pytest.mark.parametrize("seconds", ["", "soon", "-1", "0", "nan"])
def test_patience_that_is_no_time_is_refused(monkeypatch, seconds):
    monkeypatch.setenv("DEEPMAD_JOIN_SECONDS", seconds)
    with pytest.raises(InvalidConfig, match="DEEPMAD_JOIN_SECONDS"):
        join("h:1,2,1")


def meet_all(places, seconds=PATIENCE_SECONDS):
    """What each `meet` raised, or None."""

    def one(place):
        try:
            meet(place, seconds)
        except UserError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(len(places)) as pool:
        return list(pool.map(one, places))


def places(count, *indices):
    address = f"localhost:{free_port()}"
    return [Place(address, count, index) for index in indices]


@pytest.mark.parametrize("order", [(0,), (0, 1), (3, 1, 2, 0)])
def test_meeting_ends_when_all_are_there(order):
    assert meet_all(places(len(order), *order)) == [None] * len(order)


def test_those_who_came_hear_who_did_not():
    first, second = places(4, 0, 2)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(meet, second, PATIENCE_SECONDS)
        with pytest.raises(UserError, match=r"2 of 4 processes did not come .* number 1, 3"):
            meet(first, 2)
        with pytest.raises(UserError, match=r"Process 0 says: 2 of 4 .* number 1, 3"):
            waiting.result()


def test_two_of_the_same_number_are_told_so():
    first, *others = meet_all(places(3, 0, 1, 1), 2)
    assert "Two processes say that they are number 1 of 3" in first
    assert any("Process 0 says: Two processes" in (said or "") for said in others)


def test_another_count_is_told_on_both_sides():
    (first,) = places(2, 0)
    second = Place(first.address, 3, 1)
    for said in meet_all([first, second]):
        assert "number 1 of 3, but process 0 that there are 2" in said


def test_strangers_at_the_port_change_nothing():
    first, second = places(2, 0, 1)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(meet, first, PATIENCE_SECONDS)
        for words in (b"GET / HTTP/1.1\r\n\r\n", b"\xff\n", b"[]\n", b'{"index": "1"}\n', b""):
            with connect(first) as stranger:
                stranger.sendall(words + b"\n")
        meet(second, PATIENCE_SECONDS)
        waiting.result()


def connect(place):
    """A connection to where a thread is about to listen."""
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection((place.host, place.port))


def test_process_that_was_started_anew_takes_its_own_place():
    first, second, third = places(3, 0, 1, 2)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(meet, first, PATIENCE_SECONDS)
        with connect(first) as gone:
            gone.sendall(b'{"count": 3, "index": 1}\n')
        others = [pool.submit(meet, place, PATIENCE_SECONDS) for place in (second, third)]
        for other in [waiting, *others]:
            other.result()


def test_stranger_in_the_place_of_process_0_is_not_taken_for_it():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        stop = threading.Event()
        server.settimeout(0.05)

        def answer():
            while not stop.is_set():
                with contextlib.suppress(TimeoutError), server.accept()[0] as connection:
                    connection.sendall(b"SSH-2.0-OpenSSH\n")

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            with pytest.raises(UserError, match=r"within 0.5 s not all|cannot reach process 0"):
                meet(Place(f"127.0.0.1:{port}", 2, 1), 0.5)
        finally:
            stop.set()
            thread.join()


def test_port_that_is_taken_is_told():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(UserError, match=f"cannot listen on port {port} .*another port"):
            meet(Place(f"127.0.0.1:{port}", 2, 0), 1)
