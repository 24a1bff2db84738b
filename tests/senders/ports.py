"""Ports of this machine that nobody has."""

import itertools
import os
import socket

# Below the kernel's range for outgoing connections, so that none of those takes one between here and its use.
_FIRST, _LAST = 20_000, 32_000
_NEXT = itertools.count(os.getpid() * 37)


def free_port():
    """A port on 127.0.0.1 that is free now and was not handed out before in this run."""
    for _ in range(_LAST - _FIRST):
        port = _FIRST + next(_NEXT) % (_LAST - _FIRST)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no free port")
