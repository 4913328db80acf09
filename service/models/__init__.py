"""The models that specs may name."""
