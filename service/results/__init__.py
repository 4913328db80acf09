"""Results as clients fetch them: JSON, npz, CSV and figures."""
