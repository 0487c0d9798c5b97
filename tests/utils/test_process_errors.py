"""An error of nccl, gloo or torch's store is said as it is; only a lost connection means that a process has ended."""

import pytest
import torch.distributed as dist

from utils.errors import MachineError
from utils.process_errors import LostProcessError, describe_process_error, translate_process_errors

PLACE = "/pytorch/torch/csrc/distributed/c10d/NCCLUtils.hpp:268"
NCCL = f"NCCL error in: {PLACE}, {{}}, NCCL version 2.21.5\n{{}}\nLast error:\n{{}}"
SYSTEM = (
    "unhandled system error (run with NCCL_DEBUG=INFO for details)",
    "ncclSystemError: System call (e.g. socket, malloc) or external library call failed or device error.",
)
REMOTE = (
    "remote process exited or there was a network error",
    "ncclRemoteError: A call failed possibly due to a network error or a remote process exiting prematurely.",
)
CUDA = (
    "unhandled cuda error (run with NCCL_DEBUG=INFO for details)",
    "ncclUnhandledCudaError: Call to CUDA function failed.",
)
INTERNAL = ("internal error - please report this issue to the NCCL developers",
            "ncclInternalError: Internal check failed.")  # fmt: skip
USAGE = ("invalid usage (run with NCCL_DEBUG=WARN for details)",
         "ncclInvalidUsage: This usually reflects invalid usage of NCCL library.")  # fmt: skip
CALLS = f"\nException raised from create at {PLACE} (most recent call first):\nC++ CapturedTraceback:"
GLOO = "[/__w/pytorch/pytorch/third_party/gloo/gloo/transport/tcp/"
REMARK = " This is typically caused by a remote worker crashing. Check the logs of the remote worker. GLHF!"


def nccl(kind, last, calls=CALLS):
    return dist.DistBackendError(NCCL.format(*kind, last) + calls)


# (error, what is kept of it, advice): as torch 2.1 to 2.14 raise them.
AS_THEY_ARE = {
    "shm": (
        nccl(SYSTEM, "Error while creating shared memory segment /dev/shm/nccl-1YsMbG (size 7340384)"),
        "shared memory segment /dev/shm/nccl-1YsMbG (size 7340384)",
        "--shm-size",
    ),
    "shm extended": (
        nccl(
            SYSTEM,
            "Error: failed to extend /dev/shm/nccl-WU88OE to 9637892 bytes, error: No space left on device (28)",
            "",
        ),
        "No space left on device (28)",
        "--shm-size",
    ),
    "shm of nccl 2.7": (
        nccl(SYSTEM, "Call to posix_fallocate failed : No space left on device"),
        "posix_fallocate",
        "--shm-size",
    ),
    "GPU memory": (
        nccl(CUDA, "Cuda failure 2 'out of memory'"),
        "Cuda failure 2 'out of memory'",
        "--train.batch_size",
    ),
    "GPU memory of nccl": (nccl(CUDA, "Failed to CUDA calloc 6291456 bytes"), "6291456 bytes", "--train.batch_size"),
    "locked memory": (
        nccl(SYSTEM, "Call to ibv_reg_mr failed with error Cannot allocate memory"),
        "ibv_reg_mr",
        "memlock",
    ),
    "one GPU twice": (
        nccl(USAGE, "Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 4000"),
        "rank 1 and rank 0 both on CUDA device 4000",
        "--nproc-per-node",
    ),
    "no interface": (
        nccl(INTERNAL, "Bootstrap : no socket interface found"),
        "no socket interface found",
        "NCCL_SOCKET_IFNAME",
    ),
    "gloo's interface": (
        RuntimeError(f"[enforce fail at {GLOO[1:]}device.cc:84] ifa != nullptr. Unable to find address for: nope"),
        "(Unable to find address for: nope)",
        "GLOO_SOCKET_IFNAME",
    ),
    "refused": (
        nccl(SYSTEM, "socketPollConnect: Connect to 10.0.0.2<43567> returned 111(Connection refused) errno 115"),
        "10.0.0.2<43567>",
        "firewall",
    ),
    "no route": (
        nccl(SYSTEM, "Call to connect to 172.17.0.2<51231> failed : No route to host"),
        "No route to host",
        "firewall",
    ),
    "store address": (
        dist.DistNetworkError(
            "The client socket has timed out after 4000ms while trying to connect to (127.0.0.1, 29612)."
        ),
        "(127.0.0.1, 29612)",
        "MASTER_ADDR",
    ),
    "port": (
        dist.DistNetworkError(
            "The server socket has failed to listen on any local network address. port: 29616, "
            "useIpv6: false, code: -98, name: EADDRINUSE, message: address already in use"
        ),
        "port: 29616",
        "MASTER_PORT",
    ),
    "too few": (
        dist.DistStoreError("Timed out after 5 seconds waiting for clients. 1/2 clients joined."),
        "1/2 clients joined",
        "start all processes",
    ),
    "slow": (
        RuntimeError(f"{GLOO}unbound_buffer.cc:78] Timed out waiting 4000ms for recv operation to complete"),
        "(Timed out waiting 4000ms for recv operation to complete)",
        "slower",
    ),
    "watchdog": (
        dist.DistBackendError(
            "[Rank 1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=12, "
            "OpType=ALLREDUCE, NumelIn=1) ran for 600029 milliseconds before timing out."
        ),
        "ran for 600029 milliseconds",
        "slower",
    ),
    "files": (nccl(SYSTEM, "Call to socket failed : Too many open files"), "Too many open files", "ulimit -n"),
    "driver": (
        nccl(CUDA, "Cuda failure 'CUDA driver version is insufficient for CUDA runtime version'"),
        "insufficient",
        "driver",
    ),
    "InfiniBand": (
        nccl(REMOTE, "NET/IB : Got completion from peer 10.0.35.1<49189> with status=12 opcode=0 len=0"),
        "status=12",
        "network",
    ),
    "unheard of": (
        nccl(INTERNAL, "Proxy Call to rank 0 failed (Setup)"),
        "Proxy Call to rank 0 failed (Setup)",
        "NCCL_DEBUG",
    ),
    "older torch": (
        RuntimeError(
            "NCCL error in: ../torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:1269, unhandled system "
            "error, NCCL version 2.14.3"
        ),
        "unhandled system error",
        "NCCL_DEBUG",
    ),
}

LOST = [
    RuntimeError(f"{GLOO}pair.cc:561] Connection closed by peer [127.0.0.1]:60075.{REMARK}"),
    RuntimeError(f"{GLOO}pair.cc:545] Read error [127.0.0.1]:30849: Connection reset by peer.{REMARK}"),
    RuntimeError(f"{GLOO}pair.cc:525] Write error [127.0.0.1]:30849: Broken pipe"),
    nccl(REMOTE, "socketProgressOpt: Call to recv from 172.1.2.3<33759> failed : Connection reset by peer"),
    nccl(INTERNAL, "Net : Connection closed by remote peer user<50260>"),
    dist.DistNetworkError(
        "Failed to recv, got 0 bytes. Connection was likely closed. Did the remote server shutdown or crash?"
    ),
    dist.DistBackendError("Broken pipe"),
]


@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_what_is_no_lost_connection_is_said_as_it_is(name):
    error, kept, advice = AS_THEY_ARE[name]
    found = describe_process_error(error, 1, 2)
    assert type(found) is MachineError and found.exit_code == 1
    text = str(found)
    assert kept in text and advice in text and "process 1 of 2" in text
    assert "has ended" not in text and "\n" not in text and ".hpp" not in text and ".cc" not in text


@pytest.mark.parametrize("error", LOST, ids=lambda error: str(error).splitlines()[-1][:40])
def test_a_lost_connection_means_that_another_process_has_ended(error):
    found = describe_process_error(error, 1, 4)
    assert type(found) is LostProcessError
    assert str(found).startswith("another of the 4 processes has ended (") and str(found).endswith("--resume")
    assert "\n" not in str(found) and "typically" not in str(found)


def test_other_errors_stay_what_they_are():
    for error in (RuntimeError("shape '[2, 3]' is invalid for input of size 5"), RuntimeError("connection closed")):
        assert describe_process_error(error, 0, 2) is None
        with pytest.raises(RuntimeError) as raised, translate_process_errors(0, 2):
            raise error
        assert raised.value is error
