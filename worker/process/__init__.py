"""A worker's processes: the child that holds a device, its heartbeat, and the device itself."""
