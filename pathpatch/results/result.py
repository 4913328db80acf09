"""A job's result: its arrays, pictures, tables and files in one call each."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pathpatch.results.data import ResultData

if TYPE_CHECKING:
    import pandas
    import plotly.graph_objects as go
    import xarray
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False, repr=False)
class Result(ResultData):
    """A job's result. With one metric its arrays are here too: ``result.patched``, ``result.effect``, ``result.axes``.

    With several metrics each has its own block: ``result["logit_diff"]`` (by kind or title) or ``result[0]``.
    """

    marked_by: ClassVar[str] = "patched"
    """A field of the JSON that only this kind of result has."""

    def figure(self, **options: Any) -> "Figure":
        """The picture that fits the result as a matplotlib figure, to change and to save for a paper.

        Options as of :func:`pathpatch.figures.figure_for`: ``kind``, ``block``, ``title``, ``x_label``, ``y_label``,
        ``colour_limit``, ``size``. :meth:`plot` and the methods named after a kind draw with Plotly: zoom and hover.
        """
        from pathpatch.static_figures import matplotlib_figure_for

        return matplotlib_figure_for(self, **options)

    def plot(self, **options: Any) -> "go.Figure":
        """The picture that fits the result, with zoom and hover; options as of :meth:`figure`."""
        from pathpatch.figures import figure_for

        return figure_for(self, **options)

    def histogram(self, **options: Any) -> "go.Figure":
        """Overlaid distributions of orig and patched over the examples, with a dashed line at 0."""
        return self.plot(kind="histogram", **options)

    def scatter(self, **options: Any) -> "go.Figure":
        """Each example's patched value against its orig."""
        return self.plot(kind="scatter", **options)

    def heatmap(self, **options: Any) -> "go.Figure":
        """Effects of a sweep on a diverging scale centred at 0; ``prompt_tokens`` labels positions."""
        return self.plot(kind="heatmap", **options)

    def bars(self, **options: Any) -> "go.Figure":
        """Effects of a sweep as bars, strongest first where there are many."""
        return self.plot(kind="bars", **options)

    def graph(self, strongest: int = 20, **options: Any) -> "go.Figure":
        """The strongest edges of a sweep as a circuit, layers upwards."""
        return self.plot(kind="graph", strongest=strongest, **options)

    def to_dataframe(self) -> "pandas.DataFrame":
        """One row per entry of ``patched``: its coordinates, patched, orig, new and effect (needs pandas)."""
        from pathpatch.results.tables import to_dataframe

        return to_dataframe(self)

    def to_xarray(self) -> "xarray.Dataset":
        """The arrays with their named axes and coordinates (needs xarray)."""
        from pathpatch.results.tables import to_xarray

        return to_xarray(self)

    def save(self, path: str | Path) -> Path:
        """Write one file in the format of its ending, and return its path.

        Args:
            path: ``.npz`` (arrays, and the rest as JSON; no pickle; also where there is no ending), ``.json``, or
                ``.csv`` (one row per entry of ``patched``; needs pandas, and :meth:`load` does not read it).

        Raises:
            UnknownEnding: It ends in something else.
        """
        from pathpatch.results.files import save

        return save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what :meth:`save` wrote, or the result that ``pathpatch result`` or curl saved."""
        from pathpatch.results.files import load

        data = load(Path(path))
        kinds = [kind for kind in cls.__subclasses__() if kind.marked_by in data]
        return (kinds[0] if kinds else cls).from_json(data)

    def __repr__(self) -> str:
        from pathpatch.results.tables import to_text

        return to_text(self)

    def _repr_html_(self) -> str:
        from pathpatch.results.tables import to_html

        return to_html(self)
