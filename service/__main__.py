"""``python -m service``: the HTTP service, as the environment says."""

import asyncio
import contextlib
import gc
import os
import resource
import socket
import sys

import uvicorn

from runtime import logs
from service.app import NoKeys, create_app, require_keys
from service.http.connections import TimedConnection
from service.settings import Settings

SWITCH_INTERVAL_S = 0.001
"""How long a thread that resolves a dataset may hold up the event loop; Python's own 5 ms would be felt."""
GRACE_S = 5
BAD_USAGE = 2
MOST_FILES = 65_536


class Server(uvicorn.Server):
    """uvicorn's, which lets requests end before it does, and has whoever waits for a job answered at once."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the waits first, so that no request holds up the rest."""
        self.config.app.state.parts.feed.end_waits()  # type: ignore[union-attr]
        await super().shutdown(sockets)


def main() -> int:
    """Serve until a signal ends it."""
    try:
        settings = Settings.read(os.environ)
        logs.configure(settings.log_level, settings.log_format)
        asyncio.run(require_keys(settings))
        app = create_app(settings)
    except (ValueError, NoKeys) as exc:
        sys.stderr.write(f"service: {exc}\n")
        return BAD_USAGE
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()  # the hundred thousand objects of the program itself: to look through them again would halt requests
    _allow_many_connections()
    server = Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
            timeout_keep_alive=30,
            backlog=2048,
            http=TimedConnection,
            ws="none",
        )
    )
    server.run()
    return 0 if server.started else 1


def _allow_many_connections() -> None:
    """As many open files as the system lets us have: slow clients must not use up the usual 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if most == resource.RLIM_INFINITY else min(most, MOST_FILES)
    with contextlib.suppress(ValueError, OSError):  # macOS allows fewer than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


if __name__ == "__main__":
    sys.exit(main())
