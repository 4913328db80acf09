"""``python -m service``: the HTTP service, as the environment says."""

import asyncio
import os
import sys

import uvicorn

from service import logs
from service.app import NoKeys, create_app, require_keys
from service.settings import Settings

SWITCH_INTERVAL_S = 0.001
"""How long a thread that resolves a dataset may hold up the event loop; Python's own 5 ms would be felt."""
GRACE_S = 5
BAD_USAGE = 2


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
    server = uvicorn.Server(
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
        )
    )
    server.run()
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
