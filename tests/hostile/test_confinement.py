"""Attempts of a decoder that a file has taken over, all refused by the kernel.

Each row is Python code that a real child runs, started like a decoder. A child without confinement shows that the
attempt would work.
"""

import errno
import json
import os
import pty
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from stenopool.speech.audio import confinement, sandbox
from tests.support.waiting import wait_until

LANDLOCK, SECCOMP = confinement.LANDLOCK, confinement.SECCOMP
# ENOSYS: libc then tries an older call.
REFUSED = {SECCOMP: (errno.EACCES, errno.ENOSYS), LANDLOCK: (errno.EACCES, errno.EPERM)}
_YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")
YAMA = _YAMA.exists() and _YAMA.read_text().strip() != "0"  # partly refused to everybody

PROLOGUE = """
import ctypes, errno, fcntl, mmap, os, platform, resource, select, signal, socket, struct, sys, termios
folder, victim = sys.argv[1], int(sys.argv[2])
own, secret = folder + '/own', folder + '/secret'
libc = ctypes.CDLL(None, use_errno=True)
column = 0 if platform.machine() == 'x86_64' else 1
def call(numbers, *arguments):
    number = numbers if isinstance(numbers, int) else numbers[column]
    if libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
def function(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
def machine_code(code):
    page = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    result = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
    if result < 0:
        raise OSError(-result, os.strerror(-result))
class Vector(ctypes.Structure):
    _fields_ = [('base', ctypes.c_void_p), ('size', ctypes.c_size_t)]
try:
    %s
except OSError as error:
    print(error.errno)
else:
    print('done')
"""


class Row(NamedTuple):
    """An attempt: the part of the kernel that refuses it, and whether it works unconfined on any kernel and for any
    user.
    """

    name: str
    attempt: str
    by: str = SECCOMP
    everywhere: bool = True


def files() -> Iterator[Row]:
    """Attempts on the file system."""
    yield Row("create a file", "open(folder + '/new', 'w')")
    yield Row("create a file, by creat()", "function('creat', (folder + '/new').encode(), 0o600)")
    yield Row("create a file without a name", "os.open(folder, os.O_TMPFILE | os.O_RDWR)", everywhere=False)
    how = "struct.pack('QQQ', 0o101, 0o600, 0), 24"
    yield Row("create a file, by openat2()", f"call(437, -100, (folder + '/new').encode(), {how})")
    yield Row("create an empty file", "os.close(os.open(folder + '/new', os.O_CREAT | os.O_RDONLY))")
    yield Row("write to a file", "open(own, 'r+b').write(b'x')")
    yield Row("append to a file", "open(own, 'ab')")
    yield Row("change a file through memory", "mmap.mmap(os.open(own, os.O_RDWR), 4)[0:1] = b'x'")
    yield Row("memory shared with others", "mmap.mmap(-1, 4096)")
    yield Row("write through its own standard input", "open('/proc/self/fd/0', 'r+b')")
    yield Row("empty a file", "os.truncate(own, 0)")
    yield Row("empty a file as it is opened", "os.open(own, os.O_RDONLY | os.O_TRUNC)")
    yield Row("link the recording elsewhere", "os.link(own, folder + '/evil.pth')")
    to = "-100, (folder + '/evil').encode()"
    yield Row("link its standard input", f"function('linkat', -100, b'/proc/self/fd/0', {to}, 0x400)")
    yield Row("rename", "os.rename(own, folder + '/evil.pth')")
    yield Row("rename, by renameat2()", f"call((316, 276), -100, own.encode(), {to}, 1)")
    yield Row("symlink", "os.symlink('/etc/passwd', folder + '/evil')")
    yield Row("unlink", "os.unlink(own)")
    yield Row("make a folder", "os.mkdir(folder + '/new')")
    yield Row("remove a folder", "os.rmdir(folder + '/empty')")
    yield Row("make a named pipe", "os.mkfifo(folder + '/new')")
    yield Row("make a named socket", "os.mknod(folder + '/new', 0o140600)")
    yield Row("chmod", "os.chmod(own, 0o777)")
    yield Row("chmod its standard input", "os.fchmod(0, 0o777)")
    yield Row("chmod, by fchmodat2()", "call(452, -100, own.encode(), 0o777, 0)", everywhere=False)
    yield Row("chown", "os.chown(own, os.getuid(), os.getgid())")
    yield Row("chown its standard input", "os.fchown(0, os.getuid(), os.getgid())")
    yield Row("lchown", "os.lchown(own, os.getuid(), os.getgid())")
    yield Row("change times", "os.utime(own, (1, 1))")
    yield Row("change its standard input's times", "os.utime(0, (1, 1))")
    yield Row("set an attribute", "os.setxattr(own, 'user.x', b'x')", everywhere=False)
    yield Row("set an attribute of its standard input", "os.setxattr(0, 'user.x', b'x')", everywhere=False)
    yield Row("lock its standard input", "fcntl.flock(0, fcntl.LOCK_EX)")
    yield Row("lock a part of its standard input", "fcntl.lockf(0, fcntl.LOCK_SH)")
    yield Row("lease its standard input", "fcntl.fcntl(0, fcntl.F_SETLEASE, fcntl.F_RDLCK)", everywhere=False)
    yield Row("watch a folder", "function('inotify_init1', 0)")
    yield Row("a file in memory", "os.memfd_create('x')")
    yield Row("change its root", "os.chroot(folder)", everywhere=False)
    yield Row("mount", "function('mount', b'x', folder.encode(), b'no file system', 0, None)", everywhere=False)
    yield Row("open a mount", "call(430, b'tmpfs', 0)", everywhere=False)
    yield Row("open a file by its handle", "call((304, 265), -100, b'x' * 32, 0)", everywhere=False)
    yield Row("read another file", "open(secret).read()", LANDLOCK)
    yield Row("list a folder", "os.listdir(folder)", LANDLOCK)
    yield Row("read the system's users", "open('/etc/passwd').read()", LANDLOCK)
    yield Row("run another program", "os.execv(folder + '/program', ['program'])", LANDLOCK)


def processes() -> Iterator[Row]:
    """Attempts on other processes, above all the service."""
    yield Row("write another process's memory in /proc", "open(f'/proc/{victim}/mem', 'r+b')", everywhere=not YAMA)
    yield Row(
        "read another process's memory in /proc", "open(f'/proc/{victim}/mem', 'rb')", LANDLOCK, everywhere=not YAMA
    )
    yield Row("read another process's environment", "open(f'/proc/{victim}/environ').read()", LANDLOCK)
    yield Row("write to its parent's memory", "open(f'/proc/{os.getppid()}/mem', 'r+b')", everywhere=not YAMA)
    yield Row("read its parent's environment", "open(f'/proc/{os.getppid()}/environ').read()", LANDLOCK)
    vector = "ctypes.byref(Vector(ctypes.addressof(ctypes.create_string_buffer(8)), 8)), 1"
    yield Row("process_vm_readv", f"call((310, 270), os.getpid(), {vector}, {vector}, 0)")
    yield Row("process_vm_writev", f"call((311, 271), os.getpid(), {vector}, {vector}, 0)")
    yield Row("process_madvise", f"call(440, call(434, os.getpid(), 0) or 3, {vector}, 4, 0)", everywhere=False)
    yield Row("ptrace", "call((101, 117), 0x4206, victim, 0, 0)", everywhere=False)
    yield Row("compare with another process", "call((312, 272), os.getpid(), victim, 0, 0, 0)", everywhere=False)
    yield Row("a handle of another process", "os.pidfd_open(victim)")
    yield Row("another process's open file", "call(438, 3, 0, 0)", everywhere=False)
    yield Row("signal by a handle", "call(424, 3, 0, None, 0)", everywhere=False)
    yield Row("signal", "os.kill(victim, 0)")
    yield Row("signal its parent", "os.kill(os.getppid(), signal.SIGCONT)")
    yield Row("signal its group", "os.kill(0, signal.SIGCONT)")
    yield Row("signal all processes", "os.kill(-1, 0)")
    yield Row("signal a thread", "call((234, 131), victim, victim, 0)")
    yield Row("signal a thread, by tkill()", "call((200, 130), victim, 0)")
    yield Row("signal with a value", "function('sigqueue', victim, 0, None)")
    yield Row("signal when its own pipe is read", "fcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, victim)")
    yield Row("signal through a file's owner", "fcntl.fcntl(os.pipe()[0], 15, struct.pack('ii', 1, victim))")
    yield Row("limit another process", "resource.prlimit(victim, resource.RLIMIT_CPU, (10**6, 10**6))")
    yield Row("read another process's limits", "resource.prlimit(victim, resource.RLIMIT_CPU)")
    core = "resource.RLIMIT_CORE"
    yield Row("change its own limits", f"resource.setrlimit({core}, resource.getrlimit({core}))")
    yield Row("slow another process down", "os.setpriority(os.PRIO_PROCESS, victim, 5)")
    yield Row("schedule another process", "os.sched_setscheduler(victim, os.SCHED_BATCH, os.sched_param(0))")
    yield Row("set another process's processors", "os.sched_setaffinity(victim, os.sched_getaffinity(0))")
    nodes = "struct.pack('Q', 1), struct.pack('Q', 1)"
    yield Row("move another process's memory", f"call((256, 238), victim, 8, {nodes})", everywhere=False)
    yield Row("fork", "os.fork() or os._exit(0)")
    yield Row("vfork", "call((58, 220), 17, 0, 0, 0, 0)", everywhere=False)
    yield Row("clone3", "call(435, struct.pack('8Q', 0, 0, 0, 0, 0, 0, 0, 0), 64)", everywhere=False)
    yield Row("spawn", "os.posix_spawn('/bin/true', ['true'], {})")
    yield Row("a user namespace", "call((272, 97), 0x10000000)", everywhere=False)
    yield Row("a network namespace", "call((272, 97), 0x40000000)", everywhere=False)
    yield Row("a user namespace, by clone()", "call((56, 220), 0x10000000 | 17, 0, 0, 0, 0) or None", everywhere=False)
    yield Row("another process's namespace", "call((308, 268), 0, 0)", everywhere=False)
    yield Row("be debugged by any process", "function('prctl', 0x59616D61, -1, 0, 0, 0)", everywhere=False)
    yield Row("be dumped", "function('prctl', 4, 1, 0, 0, 0)")
    yield Row("outlive its parent", "function('prctl', 1, 0, 0, 0, 0)")


def kernel() -> Iterator[Row]:
    """Attempts on the network, and on kernel interfaces used in past attacks."""
    yield Row("a socket", "socket.socket()")
    yield Row("a local socket", "socket.socket(socket.AF_UNIX)")
    yield Row("a packet socket", "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)")
    yield Row("a pair of sockets", "socket.socketpair()")
    yield Row("connect", "function('connect', 0, b'x' * 16, 16)", everywhere=False)
    yield Row("take a descriptor", "function('recvmsg', 0, b'x' * 64, 0)", everywhere=False)
    yield Row("io_uring", "call(425, 1, b'\\0' * 120)", everywhere=False)
    yield Row("bpf", "call((321, 280), 0, struct.pack('IIII', 2, 4, 4, 1) + b'\\0' * 64, 72)", everywhere=False)
    yield Row("perf events", "call((298, 241), b'\\0' * 128, 0, -1, -1, 0)", everywhere=False)
    yield Row("userfaultfd", "call((323, 282), 1)", everywhere=False)
    yield Row("read keys", "call((250, 219), 0, -3, 0)", everywhere=False)
    yield Row("add a key", "call((248, 217), b'user', b'x', b'x', 1, -3)", everywhere=False)
    yield Row("request a key", "call((249, 218), b'user', b'x', None, -3)", everywhere=False)
    yield Row("shared memory", "call((29, 194), 0, 4096, 0o1600)", everywhere=False)
    yield Row("a message queue", "call((68, 186), 0, 0o1600)", everywhere=False)
    yield Row("a named message queue", "call((240, 180), b'stenopool-test', 0o100, 0o600, None)", everywhere=False)
    yield Row("semaphores", "call((64, 190), 0, 1, 0o1600)", everywhere=False)
    yield Row("watch the file system", "call((300, 262), 0, 0)", everywhere=False)
    yield Row("send a file", "os.sendfile(1, 0, 0, 0)", everywhere=False)
    yield Row("splice", "os.splice(0, os.pipe()[1], 1)", everywhere=False)
    yield Row("vmsplice", "call((278, 75), os.pipe()[1], ctypes.byref(Vector(0, 0)), 0, 0)", everywhere=False)
    yield Row("copy between files", "os.copy_file_range(0, 0, 0)", everywhere=False)
    yield Row("a larger pipe", "fcntl.fcntl(1, 1031, 65536)")
    yield Row("set the clock", "call((227, 112), 0, struct.pack('qq', -1, 0))", everywhere=False)
    yield Row("change the host name", "call((170, 161), None, -1)", everywhere=False)
    yield Row("another filter", "call((317, 277), 0, 0, None)", everywhere=False)
    yield Row("the kernel's log", "call((103, 116), 10, None, 0)", everywhere=False)
    yield Row(
        "another table of system calls", "call(0x40000000 + 83, (folder + '/new').encode(), 0o700)", everywhere=False
    )
    if os.uname().machine == "x86_64":
        # push rbx; mov eax, 20 (getpid of 32 bits); int 0x80; pop rbx; ret
        yield Row("32-bit calls", r"machine_code(b'\x53\xb8\x14\x00\x00\x00\xcd\x80\x5b\xc3')", everywhere=False)


ROWS = [*files(), *processes(), *kernel()]


@pytest.fixture
def victim() -> Iterator[int]:
    """Another process of the same user."""
    with subprocess.Popen(["/bin/sleep", "60"], start_new_session=True) as process:
        yield process.pid
        process.kill()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("own", "secret"):
        (tmp_path / name).write_bytes(b"recording")
    (tmp_path / "empty").mkdir()
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho done\n")
    program.chmod(0o755)
    return tmp_path


def command(row: Row, folder: Path, victim: int) -> list[str]:
    return [sys.executable, "-S", "-c", PROLOGUE % row.attempt, str(folder), str(victim)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.replace(" ", "-"))
def test_an_attempt_is_refused(row: Row, folder: Path, victim: int) -> None:
    if row.by in sandbox.missing():
        pytest.skip(f"this kernel lacks {row.by}, by which it is refused")
    before = {path.name: (path.lstat().st_mode, path.lstat().st_mtime) for path in folder.iterdir()}
    with (folder / "own").open("rb") as recording:
        streams = {"stdin": recording, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with sandbox.start(command(row, folder, victim), **streams) as child:
            said, errors = child.communicate(30)
    assert said.strip().isdigit(), (said, errors)
    assert int(said) in REFUSED[row.by], os.strerror(int(said))
    assert {path.name: (path.lstat().st_mode, path.lstat().st_mtime) for path in folder.iterdir()} == before
    assert (folder / "own").read_bytes() == b"recording"


@pytest.mark.parametrize("row", [row for row in ROWS if row.everywhere], ids=lambda row: row.name.replace(" ", "-"))
def test_an_attempt_works_without_confinement(row: Row, folder: Path, victim: int) -> None:
    """Without confinement it works."""
    with (folder / "own").open("rb") as recording:
        run = subprocess.run(
            command(row, folder, victim), stdin=recording, capture_output=True, timeout=30, start_new_session=True
        )
    assert run.stdout.splitlines()[-1:] == [b"done"], (run.stdout, run.stderr)


def test_terminal_input_is_refused() -> None:
    """TIOCSTI types into the terminal from which the service was started."""
    ours, theirs = pty.openpty()
    attempt = "import fcntl\ntry:\n  fcntl.ioctl(0, 0x5412, b'x')\nexcept OSError as error:\n  print(error.errno)\n"
    with sandbox.start([sys.executable, "-S", "-c", attempt], stdin=theirs, stdout=subprocess.PIPE) as child:
        assert int(child.communicate(30)[0]) in REFUSED[SECCOMP]
    os.close(ours)
    os.close(theirs)


def test_no_secrets_and_no_open_files_are_inherited(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    sandbox.stop_launchers()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted")
    attempt = (
        "import json, os\nfound = []\n"
        "for n in range(1024):\n  try:\n    os.fstat(n)\n    found.append(n)\n  except OSError:\n    pass\n"
        "print(json.dumps([found, sorted(os.environ)]))\n"
    )
    with (folder / "secret").open() as secret:
        os.set_inheritable(secret.fileno(), True)
        with sandbox.start([sys.executable, "-S", "-c", attempt], stdout=subprocess.PIPE) as child:
            said = child.communicate(30)[0]
    descriptors, names = json.loads(said)
    assert descriptors == [0, 1, 2]
    assert set(names) <= {"PATH", "LANG", "LC_CTYPE", "LD_LIBRARY_PATH"}
    # The prober is forked from the launcher and inherits its files and environment.
    launcher = sandbox._launchers().get(True).process.pid
    given = Path(f"/proc/{launcher}/environ").read_bytes().split(b"\0")
    assert {name.partition(b"=")[0] for name in given if name} <= {b"PATH", b"LANG", b"LD_LIBRARY_PATH", b"PYTHONPATH"}


def test_abort_still_ends_the_process() -> None:
    """A signal to itself: libav's way to stop after an internal error."""
    with sandbox.start([sys.executable, "-S", "-c", "import os; os.abort()"]) as child:
        assert child.wait(30) == -6


def test_missing_protection_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a processor without a table of system calls."""
    confinement.missing.cache_clear()
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert SECCOMP in sandbox.missing()
    confinement.missing.cache_clear()


def test_decoders_end_with_their_launcher() -> None:
    """Killed, it ends its decoders; the next start starts another launcher."""
    with sandbox.start(["/bin/sleep", "60"]) as child:
        launcher = sandbox._launchers().get(False)
        launcher.process.kill()
        assert child.wait(10) == -9
        wait_until(lambda: not Path(f"/proc/{child.pid}").exists(), "it is gone", seconds=10)
    with sandbox.start(["/bin/true"]) as child:
        assert child.wait(10) == 0
    assert sandbox._launchers().get(False) is not launcher


def test_the_memory_of_the_starting_process_is_closed() -> None:
    """For kernels without Landlock: /proc/PID/mem and environ belong to root."""
    program = (
        "import ctypes\nfrom stenopool.speech.audio import sandbox\n"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))\n"
        "sandbox.start(['/bin/true']).wait()\n"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))\n"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).stdout.split() == [b"1", b"0"]


def interpret(code: bytes, call: bytes) -> int:
    """The filter's result for a call, by the few BPF instructions that ours has."""
    lines, at, word = list(struct.iter_unpack("HBBI", code)), 0, 0
    while True:
        kind, true, false, value = lines[at]
        at += 1
        if kind == 0x06:
            return value
        if kind == 0x20:
            (word,) = struct.unpack_from("I", call, value)
        elif kind == 0x05:
            at += value
        else:
            holds = {0x15: word == value, 0x35: word >= value, 0x45: bool(word & value)}[kind]
            at += true if holds else false


@pytest.mark.parametrize("machine", confinement._MACHINES)
def test_the_filter_of_each_architecture(machine: str) -> None:
    """Simulated here, because at most one of the two architectures is available: every number, and calls with
    arguments.
    """
    column, constant = confinement._MACHINES[machine]
    code = confinement._assemble(column, constant, 1234)

    def allows(number: int, *arguments: int, architecture: int = constant) -> bool:
        call = struct.pack("IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
        return interpret(code, call) == confinement._ALLOW

    def number(name: str) -> int:
        found = {**confinement._SIGNALS, **{name: numbers for name, (numbers, _) in confinement._CHECKED.items()}}
        return found[name][column]

    always = {numbers[column] for numbers in confinement._ALLOWED.values()}
    checked = {number(name) for name in [*confinement._CHECKED, *confinement._SIGNALS]}
    for each in range(600):
        if each not in checked:
            assert allows(each) == (each in always), each
        assert not allows(each, architecture=0x4000_0003)
        assert not allows(each + 0x4000_0000)
    assert allows(number("openat"), 0, 0, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC, os.O_TMPFILE | os.O_RDWR):
        assert not allows(number("openat"), 0, 0, flags)
    assert allows(number("mmap"), 0, 4096, 3, 2)
    assert allows(number("mmap"), 0, 4096, 1, 1)
    assert not allows(number("mmap"), 0, 4096, 3, 1)
    assert allows(number("clone"), 0x3D0F00)
    assert not allows(number("clone"), 17)
    assert not allows(number("clone"), 0x3D0F00 | 0x4000_0000)
    for name in ("kill", "tgkill"):
        assert allows(number(name), 1234, 1234)
        assert not any(allows(number(name), other) for other in (0, 1, 1235, 2**32 - 1, 2**64 - 1234))
    assert allows(number("prlimit64"), 0, 7, 0, 1)
    assert not allows(number("prlimit64"), 0, 7, 1 << 32)
    assert not allows(number("prlimit64"), 1, 7, 0)
    assert allows(number("fcntl"), 0, 1030)
    assert not any(allows(number("fcntl"), 0, each) for each in (5, 6, 7, 8, 10, 15, 36, 1024, 1026, 1031, 1033))
    assert not any(allows(number("ioctl"), 0, each) for each in (0x5412, 0x5452, 0x8901, 0x541D))
    assert not any(allows(number("prctl"), each) for each in (1, 4, 22, 35, 36, 38, 0x59616D61))
