"""Large contents of jobs in a folder or an S3-compatible bucket; no Redis, no HTTP, no torch."""
