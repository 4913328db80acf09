"""What every process needs: logs, traces, and the limits of its container."""
