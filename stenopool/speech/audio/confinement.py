"""Confine this process permanently: the kernel refuses everything that decoders do not need.

There are two parts. Neither needs privileges, and both apply to every program that the process becomes:

* A seccomp filter allows the system calls on a list and refuses all others, including those of future kernels. Files
  can only be opened for reading; nothing can be created, changed, renamed or deleted. Sockets, new processes, signals
  to others, and access to another process's memory or limits are refused.
* Landlock (Linux 5.13) leaves only a few folders readable, without recordings, settings or ``/proc``.
"""

import ctypes
import errno
import os
import platform
import stat
import struct
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

SECCOMP, LANDLOCK = "seccomp", "Landlock"

_PR_SET_DUMPABLE, _PR_SET_NAME, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _PR_SET_VMA = 4, 15, 22, 38, 0x53564D41
_MODE_FILTER = 2
# BPF: load a word, jump if equal, if at least, if any bit is set, always; return (linux/bpf_common.h)
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _JUMP, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x05, 0x06
_ERROR = 0x0005_0000  # linux/seccomp.h
_ALLOW, _REFUSE, _UNKNOWN = 0x7FFF_0000, _ERROR | errno.EACCES, _ERROR | errno.ENOSYS
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_X32 = 0x4000_0000  # start of x86-64's second table of system calls
# From here on, all machines have the same numbers. libc tries these calls first (clone3, openat2), and falls back to an
# older one only after ENOSYS.
_NEW = 424
_MACHINES = {"x86_64": (0, 0xC000_003E), "aarch64": (1, 0xC000_00B7)}  # column below, and linux/audit.h's constant

# Numbers on x86-64 and on arm64, which lacks some old calls. The most frequent calls come first.
_ALLOWED: dict[str, tuple[int, int | None]] = {
    "read": (0, 63),
    "write": (1, 64),
    "futex": (202, 98),
    "lseek": (8, 62),
    "munmap": (11, 215),
    "mprotect": (10, 226),
    "madvise": (28, 233),
    "brk": (12, 214),
    "mremap": (25, 216),
    "close": (3, 57),
    "fstat": (5, 80),
    "newfstatat": (262, 79),
    "statx": (332, 291),
    "stat": (4, None),
    "lstat": (6, None),
    "poll": (7, None),
    "ppoll": (271, 73),
    "select": (23, None),
    "pselect6": (270, 72),
    "pread64": (17, 67),
    "readv": (19, 65),
    "preadv": (295, 69),
    "writev": (20, 66),
    "access": (21, None),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "getdents": (78, None),
    "getdents64": (217, 61),
    "getcwd": (79, 17),
    "statfs": (137, 43),
    "fstatfs": (138, 44),
    "fadvise64": (221, 223),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "pipe": (22, None),
    "pipe2": (293, 59),
    "eventfd2": (290, 19),
    "epoll_create1": (291, 20),
    "epoll_ctl": (233, 21),
    "epoll_wait": (232, None),
    "epoll_pwait": (281, 22),
    "close_range": (436, 436),
    "sched_yield": (24, 124),
    "sched_getparam": (143, 121),
    "sched_getscheduler": (145, 120),
    "sched_getaffinity": (204, 123),
    "getcpu": (309, 168),
    "getpriority": (140, 141),
    "membarrier": (324, 283),
    "nanosleep": (35, 101),
    "clock_nanosleep": (230, 115),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "gettimeofday": (96, 169),
    "time": (201, None),
    "times": (100, 153),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "rt_sigpending": (127, 136),
    "rt_sigtimedwait": (128, 137),
    "rt_sigsuspend": (130, 133),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    "set_robust_list": (273, 99),
    "get_robust_list": (274, 100),
    "set_tid_address": (218, 96),
    "rseq": (334, 293),
    "arch_prctl": (158, None),
    "gettid": (186, 178),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "getpgrp": (111, None),
    "getpgid": (121, 155),
    "getsid": (124, 156),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "getgroups": (115, 158),
    "getresuid": (118, 148),
    "getresgid": (120, 150),
    "getrlimit": (97, 163),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),
    "uname": (63, 160),
    "getrandom": (318, 278),
    "umask": (95, 166),
    "execve": (59, 221),  # only programs in readable folders, which stay confined
    "exit": (60, 93),
    "exit_group": (231, 94),
}
# Allowed with certain arguments only: index of the 32-bit word (two per argument, the lower first), condition, values.
_IF_ANY_OF, _ANY_OF, _NONE_OF, _ONE_OF = "a bit, else allow", "a bit", "no bit", "equal to one"
_Check = tuple[int, str, Sequence[int]]
_OPEN_TO_WRITE = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC
_CLONE_THREAD, _NEW_NAMESPACES, _PROT_WRITE, _MAP_SHARED = 0x0001_0000, 0x7E02_0000, 2, 1
_CHECKED: dict[str, tuple[tuple[int, int | None], Sequence[_Check]]] = {
    "mmap": ((9, 222), [(4, _IF_ANY_OF, [_PROT_WRITE]), (6, _NONE_OF, [_MAP_SHARED])]),
    "openat": ((257, 56), [(4, _NONE_OF, [_OPEN_TO_WRITE])]),
    "open": ((2, None), [(2, _NONE_OF, [_OPEN_TO_WRITE])]),
    "clone": ((56, 220), [(0, _ANY_OF, [_CLONE_THREAD]), (0, _NONE_OF, [_NEW_NAMESPACES])]),
    # Copies and flags of descriptors; no locks, leases or signals.
    "fcntl": ((72, 25), [(2, _ONE_OF, [0, 1, 2, 3, 4, 1030])]),
    # Whether it is a terminal, the number of available bytes, close on exec; no input to terminals, no devices.
    "ioctl": ((16, 29), [(2, _ONE_OF, [0x5401, 0x541B, 0x5450, 0x5451])]),
    "prctl": ((157, 167), [(0, _ONE_OF, [_PR_SET_NAME, _PR_SET_VMA])]),
    # Only reading the process's own limits: PID 0, and a null pointer for new limits.
    "prlimit64": ((302, 261), [(0, _ONE_OF, [0]), (4, _ONE_OF, [0]), (5, _ONE_OF, [0])]),
}
# Signals to itself only, which abort() sends.
_ITSELF = 0x7FFF_FFFF  # placeholder for the process ID, which is known after the fork; above all IDs of Linux
_SIGNALS: dict[str, tuple[int, int | None]] = {"kill": (62, 129), "tgkill": (234, 131)}

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_LANDLOCK_VERSION = 1
_EXECUTE, _READ_FILE, _READ_FOLDER = 1, 4, 8
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # number of rights by version; 16 in later versions
_SYSTEM = ("/usr/bin", "/usr/lib", "/usr/lib64", "/usr/local/bin", "/usr/local/lib", "/bin", "/lib", "/lib64")
_STORES = ("/etc/ld.so.cache", "/nix/store", "/gnu/store")

_Line = tuple[int, int, int, int]  # code, lines to skip if true, lines to skip if false, value
_TO_ALLOW, _TO_REFUSE = -1, -2  # placeholders for lines to skip: to one of the last two lines of a case


def confine(program: str) -> None:
    """Confine this process, which is about to run ``program`` and must have a single thread. Raises `OSError`.

    Applies the parts that the kernel supports; `missing` returns the others.
    """
    ruleset, code = prepare(program)
    _call(_libc().prctl, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if ruleset is not None:
        _call(_libc().syscall, _LANDLOCK_RESTRICT, ruleset, 0)
    if code is not None:
        code = code.replace(struct.pack("I", _ITSELF), struct.pack("I", os.getpid()))
        instructions = ctypes.create_string_buffer(code, len(code))
        # struct sock_fprog: a count and a pointer
        filter_program = ctypes.create_string_buffer(struct.pack("HP", len(code) // 8, ctypes.addressof(instructions)))
        _call(_libc().prctl, _PR_SET_SECCOMP, _MODE_FILTER, filter_program, 0, 0)


@cache
def prepare(program: str) -> tuple[int | None, bytes | None]:
    """Create what `confine` needs, once, before the forks: Landlock's ruleset (an open file) and the seccomp filter."""
    ruleset = code = None
    if LANDLOCK not in missing():
        ruleset = _open_ruleset([*_SYSTEM, *_STORES, sys.prefix, sys.base_prefix, *_places(program)])
    if SECCOMP not in missing():
        code = _assemble(*_MACHINES[platform.machine()], _ITSELF)
    return ruleset, code


@cache
def missing() -> list[str]:
    """The parts, seccomp or Landlock, that this kernel or processor does not support."""
    absent = []
    # A kernel that supports filters tries to read this one, at address 0.
    _libc().prctl(_PR_SET_SECCOMP, _MODE_FILTER, None, 0, 0)
    if ctypes.get_errno() != errno.EFAULT or platform.machine() not in _MACHINES or sys.maxsize < 2**32:
        absent.append(SECCOMP)
    if _libc().syscall(_LANDLOCK_CREATE, None, 0, _LANDLOCK_VERSION) < 1:
        absent.append(LANDLOCK)
    return absent


def hide_memory() -> None:
    """Hide this process's memory and environment in ``/proc`` from other processes of its user, unless that is root.

    This also disables debuggers and core dumps.
    """
    _libc().prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(function: Any, *arguments: Any) -> int:
    result: int = function(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _places(program: str) -> list[str]:
    """The program, wherever it is, and the libraries next to it."""
    given, real = Path(program), Path(program).resolve()
    libraries = [path for path in os.environ.get("LD_LIBRARY_PATH", "").split(":") if path.strip("/")]
    prefixes = {given.parent.parent, real.parent.parent}
    return [str(real), *(str(prefix / name) for prefix in prefixes for name in ("lib", "pyvenv.cfg")), *libraries]


def _open_ruleset(readable: Iterable[str]) -> int:
    """Create a Landlock ruleset: only these folders and files can be read and run; no TCP, no signals to others."""
    version = _call(_libc().syscall, _LANDLOCK_CREATE, None, 0, _LANDLOCK_VERSION)
    # struct landlock_ruleset_attr: rights on files (version 1), TCP (4), abstract sockets and signals (6)
    attributes = struct.pack("QQQ", (1 << _FILE_RIGHTS.get(version, 16)) - 1, 3, 3)
    attributes = attributes[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = _call(_libc().syscall, _LANDLOCK_CREATE, attributes, len(attributes), 0)
    for path in readable:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:  # does not exist on this system
            continue
        rights = _EXECUTE | _READ_FILE | (_READ_FOLDER if stat.S_ISDIR(os.fstat(place).st_mode) else 0)
        _call(_libc().syscall, _LANDLOCK_ADD, ruleset, 1, struct.pack("=Qi", rights, place), 0)
        os.close(place)
    return ruleset


def _assemble(column: int, machine: int, pid: int) -> bytes:
    """Assemble the seccomp filter. Calls that are not on the lists, or of another machine or table, are refused."""
    allowed = [number for numbers in _ALLOWED.values() if (number := numbers[column]) is not None]
    lines: list[_Line] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, machine),
        (_RETURN, 0, 0, _REFUSE),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _REFUSE),
        *((_EQUAL, len(allowed) - n, 0, number) for n, number in enumerate(allowed)),
        (_JUMP, 0, 0, 1),
        (_RETURN, 0, 0, _ALLOW),
    ]
    for numbers, checks in _CHECKED.values():
        lines += _case(numbers[column], checks)
    for numbers in _SIGNALS.values():
        lines += _case(numbers[column], [(0, _ONE_OF, [pid])])
    lines += [(_AT_LEAST, 0, 1, _NEW), (_RETURN, 0, 0, _UNKNOWN), (_RETURN, 0, 0, _REFUSE)]
    return b"".join(struct.pack("HBBI", *line) for line in lines)


def _case(number: int | None, checks: Sequence[_Check]) -> list[_Line]:
    """The lines for one system call, skipped for others. The call is allowed if all ``checks`` hold."""
    if number is None:
        return []
    body: list[_Line] = []
    for word, rule, values in checks:
        body.append((_LOAD, 0, 0, _ARGUMENTS + 4 * word))
        if rule == _ONE_OF:
            last = len(values) - 1
            body += [(_EQUAL, last - n, _TO_REFUSE if n == last else 0, value) for n, value in enumerate(values)]
        else:
            true, false = {_NONE_OF: (_TO_REFUSE, 0), _ANY_OF: (0, _TO_REFUSE), _IF_ANY_OF: (0, _TO_ALLOW)}[rule]
            body.append((_ANY_BIT, true, false, values[0]))
    end = len(body)
    skips = {_TO_ALLOW: 0, _TO_REFUSE: 1}

    def place(at: int, to: int) -> int:
        return end - at - 1 + skips[to] if to in skips else to

    placed = [(code, place(n, true), place(n, false), value) for n, (code, true, false, value) in enumerate(body)]
    return [(_EQUAL, 0, end + 2, number), *placed, (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
