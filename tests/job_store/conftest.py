"""A real server for every test of the store, emptied before each."""

from tests.blob_fixtures import blobs, s3
from tests.store_fixtures import store, valkey

__all__ = ["blobs", "s3", "store", "valkey"]
