"""Path patching as plain functions on tensors: no Celery, Redis, HTTP or environment."""
