"""What a spec asks of a model, without torch: graph, positions, grid, plan and cost; service and workers share it."""
