"""A real broker, for the tests whose service is ended and started over it."""

from tests.store_fixtures import store, valkey

__all__ = ["store", "valkey"]
