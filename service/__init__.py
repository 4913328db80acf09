"""The HTTP service: specs in, jobs out, results back. It never imports torch."""
