"""The one-machine stack: its processes, their supervision, its data folder."""
