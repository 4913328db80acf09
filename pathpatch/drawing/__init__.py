"""From a result to a picture: what a figure shows (charts), and how Plotly and matplotlib draw it."""
