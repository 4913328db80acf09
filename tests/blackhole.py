"""A TCP proxy that can swallow everything, as a network does when a cable is cut: no reset, no answer."""

import contextlib
import socket
import threading

from tests.embedded_valkey import free_port


class Blackhole:
    """Passes bytes on until ``swallow``; then connections stay open and silent until ``pass_on``."""

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self._target_port = target_port
        self._is_open = threading.Event()
        self._is_open.set()
        self._generation = 0
        self._resets = False
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept_forever, daemon=True).start()

    def swallow(self) -> None:
        """Pass nothing on any more."""
        self._is_open.clear()

    def reset(self) -> None:
        """End every connection at once, old and new, as a host does that has no such server."""
        self._resets = True

    def forget(self) -> None:
        """Swallow for ever what comes by the connections there are, as a firewall that forgot them; new ones work."""
        self._generation += 1

    def pass_on(self) -> None:
        """Pass on again, what was held back first."""
        self._resets = False
        self._is_open.set()

    def close(self) -> None:
        """Accept no more connections."""
        self._is_open.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept_forever(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._is_open.wait()
                if self._resets:
                    near.close()
                    continue
                try:
                    far = socket.create_connection(("127.0.0.1", self._target_port))
                except OSError:
                    near.close()
                    continue
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=(*ends, self._generation), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket, generation: int) -> None:
        with source:
            with contextlib.suppress(OSError):
                while content := source.recv(65536):
                    self._is_open.wait()
                    if self._resets:
                        break
                    if generation == self._generation:
                        sink.sendall(content)
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_RDWR)
