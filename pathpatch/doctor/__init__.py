"""What an operator's machine, broker, models and service look like, and what to do about it: `pathpatch doctor`."""
