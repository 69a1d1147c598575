"""Start the programs that read untrusted files, without network access.

One thread starts them all. A seccomp filter on that thread, which its children inherit, refuses sockets. It needs no
privileges and, unlike a wrapper program or a network namespace, costs no time per child. This is the second line of
defence: the first is that libav may only use the protocol "fd", an open file.
"""

import ctypes
import errno
import os
import platform
import struct
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

from stenopool.runtime.logs import logger

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _MODE_FILTER = 22, 38, 2
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # BPF: ld word, jeq, jge, ret (linux/bpf_common.h)
_ALLOW, _REFUSE = 0x7FFF_0000, 0x0005_0000 | errno.EACCES  # linux/seccomp.h
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data
_X32 = 0x4000_0000  # x86-64's second table of system calls starts here
# The machine's constant (linux/audit.h) and its numbers of: socket, socketpair, ptrace, process_vm_writev,
# io_uring_setup (opens sockets too), pidfd_getfd (takes them from other processes).
_MACHINES = {
    "x86_64": (0xC000_003E, (41, 53, 101, 311, 425, 438)),
    "aarch64": (0xC000_00B7, (198, 199, 117, 271, 425, 438)),
}


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """`subprocess.Popen` without sockets, in its own session, so that it can be killed with its children."""
    starter = _starter(os.getpid())
    return starter.submit(lambda: subprocess.Popen(command, start_new_session=True, **options)).result()


def is_confined() -> bool:
    """Whether the kernel refuses sockets to the programs started here."""
    return _starter(os.getpid()).submit(lambda: "Seccomp:\t2" in Path("/proc/thread-self/status").read_text()).result()


def _confine() -> None:
    """Refuse sockets to this thread and its children. Without kernel support, only libav's whitelist protects."""
    if platform.machine() not in _MACHINES:
        logger.warning("Decoders run without a seccomp filter: none is known for %s.", platform.machine())
        return
    code = _program(*_MACHINES[platform.machine()])
    instructions = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: a count and a pointer
    program = ctypes.create_string_buffer(struct.pack("HP", len(code) // 8, ctypes.addressof(instructions)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, program, 0, 0):
        logger.warning("Decoders run without a seccomp filter: %s.", os.strerror(ctypes.get_errno()))


def _program(machine: int, refused: Sequence[int]) -> bytes:
    """The filter: system calls in ``refused``, or of another machine or table, fail with EACCES."""
    lines: list[tuple[int, int | None, int | None, int]] = [  # code, jump if true, if false (None: refuse), value
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 0, None, machine),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, None, 0, _X32),
        *((_EQUAL, None, 0, number) for number in refused),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    last = len(lines) - 1
    return b"".join(
        struct.pack("HBBI", code, *(last - n - 1 if to is None else to for to in (true, false)), value)
        for n, (code, true, false, value) in enumerate(lines)
    )


@cache
def _starter(_process: int) -> ThreadPoolExecutor:
    """The thread of this process that starts children: a forked process has none of its parent's threads."""
    return ThreadPoolExecutor(1, thread_name_prefix="sandbox", initializer=_confine)
