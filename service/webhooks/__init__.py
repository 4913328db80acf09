"""Webhooks: from the store's outbox to a signed request."""
