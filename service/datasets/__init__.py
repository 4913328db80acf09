"""From a dataset's description to token ids, positions and answers."""
