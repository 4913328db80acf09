"""Specs: from JSON to one that can run, with every fault named."""
