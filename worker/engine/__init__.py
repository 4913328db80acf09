"""Path patching as plain functions on tensors.

Read in this order, with the paper (Wang et al. 2022, appendix B) beside it: ``path_patch`` (the algorithm for one
patch), ``model`` and ``transformer`` (the weights, and the equations), ``rows`` and ``runs`` (which positions, and the
two unpatched runs), ``metrics``, ``senders`` and ``receivers``, ``final_run`` with ``run_layer`` and ``changed_rows``,
``attention_row`` (the one query that a metric reads), and ``sweep`` (the same for many cells).

Words: a *cell* is one patch of a grid, a sender cell with a receiver cell. A *row* is a position of the residual
stream that is computed. A *unit* is a head or a neuron. *Time* is a place in the order of a forward pass
(``planning.graph``). A row is *touched* if a change has reached it; ``sweep`` puts orig's value back wherever a metric
read no touched row. Tensors have the axes batch, cell, row, then head or neuron; ``any_cell`` is 1 while all cells are
alike. Patterns are kept as (batch, query, head, key), so that rows are the second axis of everything.
"""
