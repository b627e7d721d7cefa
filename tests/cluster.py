"""A SLURM on this machine alone, from Debian's packages, without systemd: for tests.

Its nodes are daemons beside one another, so that one can be killed and the controller restarted.
It keeps no accounts of jobs, as small clusters do.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
# The only place where srun finds it inside a job: the executor takes SLURM_* from the environment.
SYSTEM = Path("/etc/slurm/slurm.conf")
CONFIGURATION = """\
ClusterName=handhold
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=10
KillWait=2
MinJobAge=600
JobRequeue=1
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/ended.txt
AccountingStorageType=accounting_storage/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str:
    """Say why no SLURM can be started here; nothing if one can."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"SLURM is not installed ({', '.join(missing)}): slurmctld slurmd slurm-client munge"
    if os.geteuid() != 0:
        return "only root can start the daemons of SLURM"
    if SYSTEM.exists():
        return f"this machine has a SLURM of its own ({SYSTEM})"
    return ""


class Slurm:
    """A cluster of `n_nodes` nodes of one CPU each, up from `__enter__` to `__exit__`."""

    def __init__(self, folder: Path, n_nodes: int = 2, memory_mb: int = 6000):
        self.folder = folder
        self.nodes = {f"n{i}": 26820 + i for i in range(1, n_nodes + 1)}
        self.memory_mb = memory_mb

    def __enter__(self) -> "Slurm":
        (self.folder / "state").mkdir(parents=True)
        for node in self.nodes:
            (self.folder / "spool" / node).mkdir(parents=True)
        # munge refuses a folder that others can write to
        self.folder.chmod(0o755)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        host = socket.gethostname().split(".")[0]
        lines = [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 "
            f"RealMemory={self.memory_mb} State=UNKNOWN"
            for node, port in self.nodes.items()
        ]
        text = CONFIGURATION.format(folder=self.folder, host=host, port=26817)
        head, partition = text.rsplit("PartitionName", 1)
        configuration = self.folder / "slurm.conf"
        nodes = "\n".join(lines)
        configuration.write_text(f"{head}{nodes}\nPartitionName{partition}")
        SYSTEM.parent.mkdir(exist_ok=True)
        SYSTEM.unlink(
            missing_ok=True
        )  # of a cluster that was killed, and pointed to nothing
        SYSTEM.symlink_to(configuration)
        try:
            self._run(
                *("munged", "--force", f"--key-file={key}"),
                f"--socket={self.folder}/munge.sock",
                f"--pid-file={self.folder}/munged.pid",
                f"--log-file={self.folder}/munged.log",
                f"--seed-file={self.folder}/munge.seed",
            )
            self.start_controller()
            for node in self.nodes:
                self.start_node(node)
            self.wait_for(len(self.nodes))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        # Left behind, it would have every later Snakemake wait for a controller that is gone.
        SYSTEM.unlink(missing_ok=True)
        for pid in self.folder.glob("*.pid"):
            self._kill(pid, signal.SIGTERM)
        subprocess.run(["pkill", "-9", "-f", f"slurmstepd.*{self.folder}"], check=False)

    def start_controller(self) -> None:
        """Start the controller, which goes on from the state that it saved."""
        self._run("slurmctld")

    def stop_controller(self) -> None:
        """Have the controller save its state and end."""
        pid = self.folder / "slurmctld.pid"
        self._kill(pid, signal.SIGTERM)
        self.until(lambda: not _is_alive(pid), "the controller ends")

    def start_node(self, node: str) -> None:
        """Start the daemon of a node."""
        self._run("slurmd", "-N", node)

    def kill_node(self, node: str) -> None:
        """Kill a node with all that runs on it, as a power cut does."""
        self._kill(self.folder / f"slurmd-{node}.pid", signal.SIGKILL)
        for job in self.jobs():
            if job["node"] == node:
                self.kill_steps(job["id"])

    def kill_steps(self, job: str) -> None:
        """Kill every process of a job, without a word to SLURM."""
        for pid in Path("/proc").glob("[0-9]*"):
            try:
                environment = (pid / "environ").read_bytes().split(b"\0")
                command = (pid / "cmdline").read_bytes()
            except OSError:
                continue
            mine = f"SLURM_JOB_ID={job}".encode() in environment
            if mine or command.startswith(f"slurmstepd: [{job}.".encode()):
                os.kill(int(pid.name), signal.SIGKILL)

    def jobs(self, *options: str) -> list[dict[str, str]]:
        """List the jobs that wait or run: id, state, node, comment, reason."""
        text = self._run(
            "squeue", "-h", "-o", "%i|%T|%N|%k|%r", *options, retries=20
        ).stdout
        names = ("id", "state", "node", "comment", "reason")
        return [
            dict(zip(names, line.split("|"), strict=True)) for line in text.splitlines()
        ]

    def wait_for(self, n_nodes: int) -> None:
        """Wait until so many nodes are up."""
        command = ("sinfo", "-h", "-N", "-t", "idle,mix,alloc", "-o", "%N")
        self.until(
            lambda: len(set(self._run(*command).stdout.split())) == n_nodes,
            f"{n_nodes} nodes are up",
        )

    def until(self, is_so, what: str, seconds: float = 60):
        """Wait until something is so, and return it."""
        end = time.monotonic() + seconds
        while not (found := is_so()):
            if time.monotonic() > end:
                raise TimeoutError(f"{what}: not within {seconds:.0f} s")
            time.sleep(0.2)
        return found

    @staticmethod
    def _run(*command: str, retries: int = 0) -> subprocess.CompletedProcess:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode and retries:
            time.sleep(1)
            return Slurm._run(*command, retries=retries - 1)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
        return done

    @staticmethod
    def _kill(pid: Path, how: signal.Signals) -> None:
        if _is_alive(pid):
            os.kill(int(pid.read_text()), how)


def _is_alive(pid: Path) -> bool:
    try:
        number = int(pid.read_text())
        return Path(f"/proc/{number}").exists()
    except (OSError, ValueError):
        return False
