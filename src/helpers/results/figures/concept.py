"""Figure 1: the idea. Training on text alone, the test with an image, image-text training, and describe-then-answer.

The figure is drawn, not measured: it shows no result. The notebook passes in its image and sentences from the drawn
world, so it shows what the models are really given.
"""

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from PIL import Image

from helpers.results.figures.style import COLOURS, FAINT, INK, SMALL, SOFT, is_narrow, page, styled, type_size

# Inches, from the upper left corner. All panels have the same structure, so that the method is what differs.
WIDTH, HEIGHT, GAP = 7.0, 4.4, 0.1
PANEL_WIDTH, PANEL_HEIGHT = (WIDTH - 3 * GAP) / 2, (HEIGHT - 3 * GAP) / 2
SIDE = 0.6  # of an image
LETTERS, PITCH = 23, 0.1  # of the smallest type: letters per inch, inches per line

DrawnAppearance = dict[str, Any]  # fill and edge of a box, as matplotlib's keyword arguments


def tint(colour: str, share: float) -> str:
    """The colour mixed with white; `share` is the colour's part."""
    red, green, blue = (share * channel + 1 - share for channel in to_rgb(colour))
    return to_hex((red, green, blue))


# How a component is drawn, by its state.
FROZEN: DrawnAppearance = {"facecolor": FAINT, "edgecolor": SOFT}
IDLE: DrawnAppearance = {"facecolor": "white", "edgecolor": SOFT, "linestyle": (0, (3, 2))}


def trained(colour: str) -> DrawnAppearance:
    """A component whose weights are trained."""
    return {"facecolor": tint(colour, 0.55), "edgecolor": colour, "linewidth": 1.4}


def tuned(colour: str) -> DrawnAppearance:
    """A component with trained weights that are no longer updated."""
    return {"facecolor": tint(colour, 0.22), "edgecolor": colour}


@styled
def figure1(image: Image.Image, name: str, description: str, own_words: str, options: Sequence[str]) -> Figure:
    """Figure 1 in four panels: text-only training, the test, image-text training, describe-then-answer.

    `description` is the training text of the class `name`; `own_words` is a model's description of `image` without
    the name; `options` are the names to choose from.
    """
    stacked = is_narrow()  # one panel below the other, in the order of their letters
    step_x, step_y = (0.0 if stacked else PANEL_WIDTH + GAP), PANEL_HEIGHT + GAP
    places = [(GAP + (i % 2) * step_x, GAP + (i if stacked else i // 2) * step_y) for i in range(4)]
    figure, axes = page(PANEL_WIDTH + 2 * GAP if stacked else WIDTH, GAP + 4 * step_y if stacked else HEIGHT)
    choice = f"Which species is this? {', '.join(options[:-1])} or {options[-1]}?"
    alone = ("a", "Training on text alone", "No pixels, no vision-tower calls. The text is learned in both directions.")
    both = ("c", "For comparison: training on image and text", "Every sample sends its image through the vision tower.")
    _training(axes, *places[0], alone, COLOURS["text_only"], name, description)
    _test(axes, *places[1], image, name, choice)
    _training(axes, *places[2], both, COLOURS["image_text"], name, description, image)
    _describe_then_answer(axes, *places[3], image, own_words, name)
    return figure


def _training(
    axes: Axes,
    x: float,
    y: float,
    panel: tuple[str, str, str],
    colour: str,
    name: str,
    description: str,
    image: Any = None,
) -> None:
    """A panel (letter, title, note) of training: on the text alone or, with a picture, on both."""
    _panel(axes, x, y, panel[0], panel[1], colour)
    if image is None:
        _box(axes, x + 0.1, y + 0.36, SIDE, SIDE, "no\nimage", IDLE, words=SOFT)
        _tower_and_projector(axes, x, y, "idle", "idle", IDLE, IDLE, flows=False)
    else:
        _image(axes, x + 0.1, y + 0.36, SIDE, image)
        _tower_and_projector(axes, x, y, "frozen", "trained", FROZEN, trained(colour), flows=True)
    _card(axes, x + 0.1, y + 1.1, 1.84, f"{name} ↔ its description", description, colour)
    _model(axes, x, y, "language\nmodel\n\nLoRA,\ntrained", trained(colour), flows=(image is not None, True))
    _result(axes, x, y, "loss\non the\nanswer")
    _note(axes, x, y, panel[2])


def _test(axes: Axes, x: float, y: float, image: Image.Image, name: str, choice: str) -> None:
    _panel(axes, x, y, "b", "Test: an image and a question", INK)
    _image(axes, x + 0.1, y + 0.36, SIDE, image)
    _tower_and_projector(axes, x, y, "frozen", "unchanged", FROZEN, FROZEN, flows=True)
    _card(axes, x + 0.1, y + 1.1, 1.84, "Question", choice, INK)
    _model(axes, x, y, "language\nmodel\n\ntuned\non text", tuned(COLOURS["text_only"]), flows=(True, True))
    _result(axes, x, y, f"“{name}”")
    _note(axes, x, y, "Asked directly: one pass from image and question to the answer.")


def _describe_then_answer(axes: Axes, x: float, y: float, image: Image.Image, own_words: str, name: str) -> None:
    _panel(axes, x, y, "d", "Test: describe, then answer", INK)
    middle = y + 0.86
    _image(axes, x + 0.1, middle - SIDE / 2, SIDE, image)
    _box(axes, x + 0.83, middle - 0.32, 0.4, 0.64, "model\nuntuned", FROZEN)
    _card(axes, x + 1.36, y + 0.34, 0.86, "Own words", own_words, COLOURS["text_only"])
    _box(axes, x + 2.35, middle - 0.32, 0.4, 0.64, "model\ntuned", tuned(COLOURS["text_only"]))
    for start, end in ((0.72, 0.81), (1.25, 1.34), (2.24, 2.33), (2.77, 2.86)):
        _arrow(axes, (x + start, middle), (x + end, middle))
    _text(axes, x + 3.1, middle, f"“{name}”", fontsize=type_size(7))
    _text(axes, x + 1.03, y + 1.62, "“Describe this\nbutterfly.”")
    _text(axes, x + 2.55, y + 1.62, "“Which species\nis this?”")
    for prompted in (1.03, 2.55):
        _arrow(axes, (x + prompted, y + 1.49), (x + prompted, middle + 0.34))
    _note(axes, x, y, "The second pass reads only words, in which the classes were learned.")


def _panel(axes: Axes, x: float, y: float, letter: str, title: str, colour: str) -> None:
    ground = tint(colour, 0.03 if colour == INK else 0.06)
    _box(axes, x, y, PANEL_WIDTH, PANEL_HEIGHT, "", {"facecolor": ground, "edgecolor": tint(colour, 0.4)})
    axes.text(x + 0.09, y + 0.17, letter, fontsize=type_size(9), fontweight="bold", va="center")
    axes.text(x + 0.24, y + 0.17, title, fontsize=type_size(8.5), va="center", fontweight="bold")


def _note(axes: Axes, x: float, y: float, words: str) -> None:
    axes.text(x + 0.1, y + PANEL_HEIGHT - 0.13, words, fontsize=type_size(7), va="center", fontstyle="italic")


def _tower_and_projector(
    axes: Axes,
    x: float,
    y: float,
    tower: str,
    projector: str,
    tower_look: DrawnAppearance,
    projector_look: DrawnAppearance,
    flows: bool,
) -> None:
    """The upper lane after the image; nothing flows through it without an image."""
    middle = y + 0.36 + SIDE / 2
    grey = INK if flows else SOFT
    _box(axes, x + 0.85, middle - 0.25, 0.5, 0.5, f"vision\ntower\n{tower}", tower_look, words=grey)
    _box(axes, x + 1.5, middle - 0.25, 0.5, 0.5, f"projector\n{projector}", projector_look, words=grey)
    for start, end in ((0.72, 0.83), (1.37, 1.48)):
        _arrow(axes, (x + start, middle), (x + end, middle), flows)


def _model(axes: Axes, x: float, y: float, words: str, appearance: DrawnAppearance, flows: tuple[bool, bool]) -> None:
    """The language model, fed by both lanes: image and text."""
    _box(axes, x + 2.15, y + 0.36, 0.56, 1.38, words, appearance)
    for height, flow in zip((0.36 + SIDE / 2, 1.42), flows, strict=True):
        _arrow(axes, (x + (2.02 if height < 1 else 1.96), y + height), (x + 2.13, y + height), flow)


def _result(axes: Axes, x: float, y: float, words: str) -> None:
    _arrow(axes, (x + 2.73, y + 1.05), (x + 2.85, y + 1.05))
    _text(axes, x + 3.1, y + 1.05, words, fontsize=type_size(7))


def _card(axes: Axes, x: float, y: float, width: float, title: str, words: str, colour: str) -> None:
    """A sheet of text with a title, as tall as its text."""
    wrapped = [part for line in words.splitlines() for part in textwrap.wrap(line, int(LETTERS * (width - 0.1)))]
    height = 0.25 + PITCH * len(wrapped)
    _box(axes, x, y, width, height, "", {"facecolor": "white", "edgecolor": tint(colour, 0.6)})
    axes.text(x + 0.06, y + 0.11, title, fontsize=type_size(7), fontweight="bold", va="center")
    for number, line in enumerate(wrapped):  # line by line: matplotlib spaces the lines of one text unevenly
        axes.text(x + 0.06, y + 0.27 + PITCH * number, line, fontsize=type_size(SMALL), va="baseline")


def _image(axes: Axes, x: float, y: float, side: float, image: Image.Image) -> None:
    axes.imshow(image, extent=(x, x + side, y + side, y), interpolation="lanczos", aspect="auto", zorder=3)
    _box(axes, x, y, side, side, "", {"facecolor": "none", "edgecolor": INK, "zorder": 4})


def _box(
    axes: Axes,
    x: float,
    y: float,
    width: float,
    height: float,
    text: str,
    appearance: DrawnAppearance,
    words: str = INK,
) -> None:
    corner = FancyBboxPatch((x, y), width, height, "round,pad=0,rounding_size=0.04", **{"linewidth": 0.7, **appearance})
    axes.add_patch(corner)
    _text(axes, x + width / 2, y + height / 2, text, color=words, zorder=5)


def _text(axes: Axes, x: float, y: float, words: str, **how: Any) -> None:
    axes.text(x, y, words, **{"fontsize": type_size(SMALL), "ha": "center", "va": "center", "linespacing": 1.05, **how})


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], flows: bool = True) -> None:
    """An arrow, or a dotted line without a head if nothing flows."""
    how: dict[str, Any] = {"color": INK, "arrowstyle": "-|>"}
    if not flows:
        how = {"color": SOFT, "arrowstyle": "-", "linestyle": (0, (1, 1.5))}
    axes.add_patch(FancyArrowPatch(start, end, mutation_scale=6, shrinkA=0, shrinkB=0, linewidth=0.8, **how))
