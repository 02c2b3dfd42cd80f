"""The style of all figures: `config/style.yaml`."""

from pathlib import Path

from pydantic import Field, PositiveFloat

from helpers.config import Settings, SettingsError, validated
from helpers.config.profiles import read_yaml
from helpers.paths import ROOT

STYLE_FILE = ROOT / "config" / "style.yaml"


class FigureStyle(Settings):
    """How figures look; nothing in it changes what they show."""

    family: str = Field(default="STIXGeneral", description="font; this one is like Times and ships with matplotlib")
    size: float = Field(default=8.0, ge=7, le=12, description="of the type, in points; numbers are a little smaller")
    width: PositiveFloat = Field(default=7.0, description="inches: both columns of a two-column page")
    column_width: PositiveFloat = Field(default=3.3, description="inches: one column, for figure2_column")
    titles: bool = Field(default=True, description="false: the caption says what a grid's title would say")
    colours: dict[str, str] = Field(default={}, description="by training mode, as in text_only: '#0072B2'")


def load_style(file: Path = STYLE_FILE) -> FigureStyle:
    """Read a style file; without `config/style.yaml`, the defaults. Raises `SettingsError` for what cannot be used."""
    if not file.is_file():
        if file == STYLE_FILE:
            return FigureStyle()
        raise SettingsError(f"the style file {file.name} is not there; give the path of a file like config/style.yaml")
    return validated(FigureStyle, read_yaml(file) or {}, "the style of the figures", file.name)
