"""A broker of this folder's own."""

from tests.store_fixtures import valkey

__all__ = ["valkey"]
