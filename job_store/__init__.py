"""Job records in Redis: states, transitions, events, results and leases."""
