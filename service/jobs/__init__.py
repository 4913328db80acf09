"""From a checked spec to a queued job, and what is told of it on the way."""
