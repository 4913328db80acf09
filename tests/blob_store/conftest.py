"""Both kinds of places."""

from tests.blob_fixtures import blobs, s3

__all__ = ["blobs", "s3"]
