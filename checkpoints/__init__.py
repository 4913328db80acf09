"""What a checkpoint folder says, read without torch by service and worker alike: files, sizes, tensors, revision."""
