"""HTTP: bodies, headers, answers and the published schema, whatever the route."""
