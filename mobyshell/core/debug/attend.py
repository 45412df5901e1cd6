"""Answering in threads: the opened door of a process that has threads anyway.

Owns the socket `<state>/.debug/PID`, for the owner alone, until the process ends. A thread per
client, few at once, each with a limit on its patience.
"""

from __future__ import annotations

import atexit
import os
import select
import socket
import threading
import time

from mobyshell.core.debug.answers import Answers
from mobyshell.core.debug.door import DIRECTORY
from mobyshell.core.debug.request import AT_ONCE, LONGEST, PATIENCE, complete
from mobyshell.core.debug.threads import Sampler
from mobyshell.core.linux.unix_sockets import allowed, bind_hidden


def attend(state: str) -> None:
    """Answer for this process, in the calling thread and others, as long as it lives. OSError."""
    directory = os.path.join(state, DIRECTORY)
    os.makedirs(directory, 0o700, exist_ok=True)
    # open as long as the door is: who looks for it finds the place by it
    place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    _sweep(directory)
    path = os.path.join(directory, str(os.getpid()))
    unready = os.path.join(directory, f".{os.getpid()}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        atexit.register(_remove, path)
        bind_hidden(listener, unready)
        os.chmod(unready, 0o600)
        listener.listen(AT_ONCE)
        os.rename(unready, path)  # whoever sees it is answered
        try:
            _welcome(listener)
        finally:
            _remove(path)
            os.close(place)


def _welcome(listener: socket.socket) -> None:
    asking = {threading.get_ident()}
    answers = Answers(Sampler(lambda: set(asking)).sample)
    free = threading.Semaphore(AT_ONCE)

    def attend_one(peer: socket.socket) -> None:
        asking.add(threading.get_ident())
        try:
            with peer:
                _answer(peer, answers, asking)
        except OSError:
            pass  # it went away, or was too slow
        finally:
            asking.discard(threading.get_ident())
            free.release()

    while True:
        free.acquire()
        peer, _ = listener.accept()
        if not allowed(peer):
            peer.close()
            free.release()
            continue
        threading.Thread(target=attend_one, args=(peer,), name="debug", daemon=True).start()


def _answer(peer: socket.socket, answers: Answers, asking: set[int]) -> None:
    until = time.monotonic() + PATIENCE
    data = b""
    while not complete(data):
        peer.settimeout(max(0.001, until - time.monotonic()))
        more = peer.recv(LONGEST + 1 - len(data))
        data += more
        if not more or len(data) > LONGEST:
            return
    peer.settimeout(PATIENCE)
    steps = answers.to(data, asking)
    try:
        while not select.select([peer], [], [], next(steps))[0]:
            pass
        steps.close()  # it has left, or says more
    except StopIteration as stop:
        peer.sendall(stop.value)


def _sweep(directory: str) -> None:
    """Remove the sockets of processes that were killed."""
    for name in os.listdir(directory):
        pid = name.removeprefix(".")
        if pid.isdecimal() and not os.path.exists(f"/proc/{pid}"):
            _remove(os.path.join(directory, name))


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # gone already, perhaps with the whole state root
