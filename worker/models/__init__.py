"""From a registered name to weights on a device."""
