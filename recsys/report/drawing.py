"""The style of all figures, numbers and names as text, and helpers to draw axes, legends and bars."""

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH: Final = 6.2
"""Inches of a figure: half of a wide window, the whole width of a phone."""
DPI: Final = 165
PALETTE: Final = 128
"""Colours of a picture, which then takes a third of the bytes."""
INK, SOFT, GRID = "#191d24", "#59616e", "#e4e2da"
BLUE, ORANGE, GREEN, GREY, SKY, PLUM = "#3b50ce", "#d4620a", "#0b7a5f", "#7d828c", "#5aa9e6", "#8f3f97"
"""Colours that colour-blind readers tell apart; all but SKY are of similar lightness."""
TYPE_COLOURS: Final = {"view": SKY, "addtocart": ORANGE, "transaction": BLUE}
TYPE_NAMES: Final = {"view": "views", "addtocart": "add-to-carts", "transaction": "purchases"}
LONGEST: Final = 34
"""Letters of a name from the data, at most."""
SETTINGS: Final[Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.color": INK,
    "text.parse_math": False,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": SOFT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 2,
    "figure.facecolor": "white",
}

Draw = Callable[["Figure"], None]


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure to draw.

    name: of its file, without extension; alt: a description for readers who cannot see it
    caption: one sentence below it; height, width: inches
    """

    name: str
    alt: str
    caption: str
    draw: Draw
    height: float = 3.7
    width: float = WIDTH

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """PNG for a notebook, with its size at 96 dots to the inch, whatever its resolution."""
        return png(self), {"width": round(96 * self.width), "height": round(96 * self.height)}


def png(picture: Picture) -> bytes:
    """The figure as a PNG file."""
    from matplotlib import rc_context  # noqa: PLC0415 - importing it makes folders in the home folder
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415 - a replica draws nothing

    with rc_context(SETTINGS):
        figure = Figure(figsize=(picture.width, picture.height), dpi=DPI, layout="constrained")
        canvas: Any = FigureCanvasAgg(figure)
        picture.draw(figure)
        canvas.draw()
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    buffer = io.BytesIO()
    drawn.quantize(PALETTE, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(buffer, "png")
    return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class SystemStyle:
    """Colour, dashes and marker of a system in every figure."""

    colour: str
    dashes: Any
    marker: str


STYLES: Final = {
    "hybrid": SystemStyle(BLUE, "solid", "o"),
    "ranker alone": SystemStyle(SKY, (0, (5, 1.5)), "s"),
    "factorization alone": SystemStyle(ORANGE, (0, (1.2, 1)), "^"),
    "popularity": SystemStyle(GREY, (0, (4, 1.5, 1, 1.5)), "v"),
}
FREQUENCY: Final = SystemStyle(GREEN, (0, (7, 2)), "D")
"""Style of the personal baseline, whose name contains its half-life."""
OTHER: Final = SystemStyle(PLUM, "solid", "P")


def style_of(system: str) -> SystemStyle:
    """The style of a system, whatever follows the comma in its name."""
    name = system.partition(",")[0]
    return STYLES.get(name) or (FREQUENCY if name == "personal frequency" else OTHER)


def counted(value: float, _: object = None) -> str:
    """A count in few letters: 950, 12k, 3.4M."""
    for unit, sign in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit * 0.9995:
            return f"{value / unit:.3g}{sign}"
    return f"{value:.3g}"


def ticked(value: float, _: object = None) -> str:
    """A fraction at a tick of an axis, in percent with up to three digits: 12.5% must not become 12%."""
    return f"{100 * value:.3g}%"


def several(count: int, noun: str) -> str:
    """A count with its noun: 1 user, 12k users."""
    return f"{counted(count)} {noun}{'' if count == 1 else 's'}"


def percent(value: float, _: object = None) -> str:
    """A fraction in few letters: 12%, 0.34%, <0.1% for next to nothing, and 99.9% for nearly all."""
    if 0 < value < 0.001:
        return "<0.1%"
    if 0.995 <= value < 1:
        return f"{math.floor(1000 * value) / 10:g}%"
    return f"{100 * value:.0f}%" if abs(value) >= 0.0995 or value == 0 else f"{100 * value:.2g}%"


def drawable(text: str, longest: int = LONGEST) -> str:
    """A name from the data on one line.

    The start of a long name is left out, and letters that the font lacks become question marks.
    """
    known = "".join(letter if letter.isprintable() and ord(letter) in _letters() else "?" for letter in text)
    return known if len(known) <= longest else f"…{known[1 - longest :]}"


@cache
def _letters() -> frozenset[int]:
    """Code points that the font of the figures has."""
    from matplotlib import font_manager, ft2font  # noqa: PLC0415

    path = font_manager.findfont("DejaVu Sans")
    return frozenset(ft2font.FT2Font(path).get_charmap())


def plain_axes(axes: "Axes", x: Callable[..., str] | None = None, y: Callable[..., str] | None = None) -> None:
    """Format the ticks of the axes with `x` and `y`; a logarithmic axis has ticks at whole powers only."""
    from matplotlib.ticker import NullLocator  # noqa: PLC0415

    for axis, form in ((axes.xaxis, x), (axes.yaxis, y)):
        if form is not None:
            axis.set_major_formatter(form)
        if axis.get_scale() == "log":
            axis.set_minor_locator(NullLocator())


def legend_below(axes: "Axes", columns: int = 3, **settings: Any) -> None:
    """Put the legend under the axes, where it hides nothing."""
    figure = axes.get_figure()
    handles, labels = axes.get_legend_handles_labels()
    if figure is not None and handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, **settings)


def label_rows(axes: "Axes", names: Sequence[str]) -> list[int]:
    """The heights of named rows, from the top down; the axis is labelled with the names."""
    heights = list(range(len(names)))[::-1]
    axes.set_yticks(heights, names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.grid(visible=False, axis="y")
    return heights


def interval_bars(
    axes: "Axes",
    names: Sequence[str],
    estimates: Sequence[tuple[float, float, float]],
    colours: Sequence[str],
    form: str = "{:.3f}",
) -> None:
    """Draw a bar with an interval and its number for each name, from the top down; estimates: mean, low, high."""
    heights = label_rows(axes, names)
    means = [mean for mean, _, _ in estimates]
    axes.barh(heights, means, color=list(colours), height=0.62)
    below = [max(mean - low, 0) for mean, low, _ in estimates]
    above = [max(high - mean, 0) for mean, _, high in estimates]
    axes.errorbar(means, heights, xerr=[below, above], fmt="none", ecolor=INK, elinewidth=1.2, capsize=3)
    ends = [max(high, mean, 0) for mean, _, high in estimates]
    reach = max(ends, default=0) or 1e-9
    least = min([0, *(low for _, low, _ in estimates)])
    for height, mean, end in zip(heights, means, ends, strict=True):
        axes.text(end + 0.02 * (reach - least), height, form.format(mean), va="center", fontsize=9)
    axes.set_xlim(least * 1.05, least + (reach - least) * 1.17)
    axes.axvline(0, color=SOFT, linewidth=0.8)
