"""The worker process: it loads models and runs experiments, and never listens on a port."""
