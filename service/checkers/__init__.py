"""Checking specs where it can be killed: a pool of processes with a deadline and a memory limit, fair between keys."""
