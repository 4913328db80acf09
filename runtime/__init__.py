"""What every process of ours needs of its surroundings: logs, traces, and the limits that a container sets."""
