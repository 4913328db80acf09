"""What crosses the wire: frozen pydantic models and error classes. No I/O, no torch."""
