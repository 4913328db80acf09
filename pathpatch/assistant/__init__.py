"""`pathpatch mcp`: experiments for assistants, as tools of the Model Context Protocol."""
