"""How faults are told: values in messages, and pydantic's findings as sentences, for service and client alike."""
