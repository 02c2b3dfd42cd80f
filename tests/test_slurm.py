"""The workflow on a real SLURM of one node, which is started here, in a folder of its own, and stopped afterwards.

Needs the Debian packages slurm-wlm and munge and the packages of config/slurm/requirements.txt; skips without them.
Accounting is off, as on many small clusters: jobs are followed by `squeue`. The node says that it has a GPU, which is
/dev/null: SLURM only hands it out.
"""

import getpass
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import stub_tree

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "srun", "setpriv")
RUN = "qwen2_vl/butterfly/text_only/main/seed0"
PLUGIN = "snakemake_executor_plugin_slurm"
SYSTEM_FOLDERS = "/usr/sbin:/sbin"  # of the daemons, which a user's PATH may lack
MUNGE_FILES = ("socket", "key-file", "pid-file", "seed-file")
FOLLOWED = ("--slurm-status-command", "squeue", "--seconds-between-status-checks", "1")

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MailProg=/bin/true
ReturnToService=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory} Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=60 State=UP
"""


def missing() -> str:
    """What is not installed, in words."""
    path = os.pathsep.join([os.environ.get("PATH", ""), SYSTEM_FOLDERS])
    programs = [name for name in PROGRAMS if not shutil.which(name, path=path)]
    if programs:
        return f"no {', '.join(programs)}: apt-get install slurm-wlm munge"
    return "" if importlib.util.find_spec(PLUGIN) else f"no {PLUGIN}: pip install -r config/slurm/requirements.txt"


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_for(what: str, holds: Callable[[], bool], folder: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            logs = "\n".join(file.read_text(errors="replace")[-2000:] for file in folder.glob("*.log"))
            raise TimeoutError(f"{what} after {seconds} s:\n{logs}")
        time.sleep(0.3)


def configure(folder: Path) -> None:
    """Files and folders of the three daemons."""
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir(mode=0o755)
    (folder / "munge/key").write_bytes(os.urandom(128))
    (folder / "munge/key").chmod(0o600)
    values = {
        "folder": folder,
        "host": socket.gethostname().split(".")[0],
        "user": getpass.getuser(),
        "ports": free_ports(2),
        "cores": os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 - 100,
    }
    (folder / "slurm.conf").write_text(CONFIGURATION.format(**values))
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")


def users_environment(folder: Path) -> dict[str, str]:
    """Where SLURM's programs find this cluster. The plugin starts `srun` without SLURM_CONF, so that needs a shim."""
    shim = folder / "bin/srun"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
    shim.chmod(0o755)
    folders = [str(shim.parent), str(Path(sys.executable).parent), os.environ["PATH"], SYSTEM_FOLDERS]
    return {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": os.pathsep.join(folders)}


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    """A running SLURM, as what has to be in the environment of its users."""
    if reason := missing():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short: a socket's path has at most 107 characters
    folder.chmod(0o755)
    configure(folder)
    users = users_environment(folder)
    munge = [f"--{name}={folder}/munge/{name.split('-')[0]}" for name in MUNGE_FILES]
    started = []

    def start(*command: str) -> None:
        with (folder / f"{command[0]}.out.log").open("w") as log:
            whole = ["setpriv", "--pdeathsig", "TERM", *command]  # none outlives this process, however that ends
            environment = stub_tree.environment(**users)
            started.append(subprocess.Popen(whole, env=environment, stdout=log, stderr=log, start_new_session=True))

    try:
        start("munged", "--foreground", "--force", *munge, f"--log-file={folder}/munge.log")
        wait_for("no munge socket", (folder / "munge/socket").exists, folder)
        start("slurmctld", "-D", "-i")
        start("slurmd", "-D")
        wait_for("no idle node", lambda: ask("sinfo", "--noheader", "--format=%t", **users) == "idle", folder)
        yield users
    finally:
        for daemon in reversed(started):
            stop(daemon)
        shutil.rmtree(folder, ignore_errors=True)


def ask(*command: str, **more: str) -> str:
    done = subprocess.run(
        command, env=stub_tree.environment(**more), capture_output=True, text=True, check=False, timeout=30
    )
    return done.stdout.strip()


def stop(daemon: "subprocess.Popen[bytes]") -> None:
    daemon.send_signal(signal.SIGTERM)
    try:
        daemon.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(daemon.pid, signal.SIGKILL)
        daemon.wait()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = stub_tree.make_tree(tmp_path_factory.mktemp("slurm"), imports=False)
    profile = tree / "config/slurm/config.yaml"  # checked each second here: these jobs last seconds
    profile.write_text(profile.read_text().replace("status-checks: 20", "status-checks: 1"))
    return tree


def on_slurm(tree: Path, cluster: dict[str, str], target: str) -> tuple[int, str]:
    options = ["--workflow-profile", "config/slurm", *FOLLOWED, "--retries", "0"]
    config = ["--config", "profile=small", "set=jobs.gpus=1 jobs.threads=2"]
    return stub_tree.snakemake(tree, *options, *config, "--", target, timeout=900, **cluster)


def put_data_set(tree: Path) -> None:
    """What the rules generate and build make; newer than the code, so up to date."""
    run = tree / "runs/small"
    for name in ("texts.jsonl", "questions.jsonl"):
        write(run / "data/butterfly/main" / name)
    write(run / "notebooks/generate/butterfly/main.ipynb")
    for name in stub_tree.WRITES["02_dataset_build"]:
        write(run / "datasets/butterfly/main" / name)
    write(run / "notebooks/build/butterfly/main.ipynb")


def write(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("made")


def ended_jobs(cluster: dict[str, str]) -> list[dict[str, str | int]]:
    """State, cores and GPUs of each job that this SLURM remembers, the first one first."""
    jobs = ask("scontrol", "--oneliner", "show", "job", **cluster).splitlines()
    return [{"state": found(r"JobState=(\w+)", job), **allocated(job)} for job in jobs]


def allocated(job: str) -> dict[str, int]:
    return {"cpu": int(found(r"cpu=(\d+)", job)), "gpu": int(found(r"gres[:/]gpu[:=](\d+)", job) or 0)}


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    return match[1] if match else ""


@pytest.mark.slow
def test_jobs_run_with_their_rules_resources_and_after_a_failure_the_same_command_goes_on(tree, cluster):
    """Two dependent jobs; the second fails at first. A data set is put there, so that they are all there is to do."""
    put_data_set(tree)
    logs, answers = tree / "runs/small/logs", f"runs/small/evaluation/{RUN}/answers.jsonl"
    notebook = tree / "notebooks/04_evaluation.ipynb"
    sound = notebook.read_text()
    notebook.write_text(sound.replace("import time", "import time; wings"))
    status, output = on_slurm(tree, cluster, answers)
    assert status == 1, output
    assert "Error in rule evaluate" in output
    assert "NameError" in (logs / f"evaluate/{RUN}.log").read_text()
    asked_for = {"cpu": 2, "gpu": 1}
    assert ended_jobs(cluster) == [{"state": "COMPLETED", **asked_for}, {"state": "FAILED", **asked_for}]

    notebook.write_text(sound)
    status, output = on_slurm(tree, cluster, answers)
    assert status == 0, output
    assert (tree / answers).is_file()
    assert (logs / f"finetune/{RUN}.log").is_file()
    assert [job["state"] for job in ended_jobs(cluster)] == ["COMPLETED", "FAILED", "COMPLETED"]  # no second training
    status, output = on_slurm(tree, cluster, answers)
    assert "Nothing to be done" in output
