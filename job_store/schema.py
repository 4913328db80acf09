"""Which jobs a process understands, where processes of neighbouring versions work on one store."""

SCHEMA = 2
"""Stored with each job. Raise it when workers of the version before could not run what this version stores, or would
run it otherwise: they leave such jobs to others. 1: versions that stored no schema; 2: references to blobs. The jobs
of each schema are in a lane of their own, ``MODEL@SCHEMA``, into which scripts of older versions do not look."""
