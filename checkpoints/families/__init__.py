"""What a config.json may say and which tensors belong to it, by family: known, or refused by name.

A new family is one more ``Family`` in ``checkpoints.families.known``; the checks in ``checkpoints.folder`` and the
reading of weights in ``worker.models`` know none of them.
"""
