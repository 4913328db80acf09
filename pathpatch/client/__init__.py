"""The Python client, sync and async: submit specs, watch jobs, fetch results.

>>> import pathpatch
>>> client = pathpatch.Client()  # PATHPATCH_URL and PATHPATCH_API_KEY, or http://127.0.0.1:8000
>>> result = client.run(spec)  # doctest: +SKIP
>>> result.histogram()  # doctest: +SKIP
"""

from pathpatch.client.awaited.client import AsyncClient
from pathpatch.client.awaited.handles import AsyncJobHandle
from pathpatch.client.blocking.client import Client
from pathpatch.client.blocking.handles import JobHandle

__all__ = ["AsyncClient", "AsyncJobHandle", "Client", "JobHandle"]
