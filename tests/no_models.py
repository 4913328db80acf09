"""What this user has fetched (``pathpatch models fetch``) is no business of tests: services look elsewhere."""

NO_MODELS = "/nonexistent/models"
