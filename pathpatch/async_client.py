"""Earlier address of the async client: now :mod:`pathpatch.client`."""

from pathpatch.client import AsyncClient as AsyncClient
