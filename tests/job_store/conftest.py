"""A real server for every test of the store, emptied before each."""

from tests.store_fixtures import store, valkey

__all__ = ["store", "valkey"]
