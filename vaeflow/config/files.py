"""Configuration files: any TOML file, and the recipes that come with vaeflow."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from vaeflow.errors import ConfigError, did_you_mean
from vaeflow.reading import plain_toml, read_text


def read_toml(path: Path) -> dict[str, Any]:
    """Read a configuration file.

    Raises:
        ConfigError: if it is missing or not TOML.
    """
    try:
        content = read_text(path)
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist: give the path of a TOML file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML ({error}): save it as UTF-8") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path} cannot be read ({why}): check the path") from None
    try:
        return plain_toml(content)
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML ({error}): correct that line") from None


def recipes() -> list[str]:
    """Return the names of the recipes that come with vaeflow."""
    folder = resources.files("vaeflow.config") / "recipes"
    return sorted(
        f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")
    )


def read_recipe(name: str) -> dict[str, Any]:
    """Read a recipe by name, or any TOML file by its path.

    Raises:
        ConfigError: if there is no such recipe or file.
    """
    if name.endswith(".toml") or "/" in name:
        return read_toml(Path(name))
    if name not in recipes():
        raise ConfigError(
            f"--recipe {name}: unknown recipe{did_you_mean(name, recipes())}; there are "
            f"{', '.join(recipes())}, and any path of a .toml file"
        )
    text = (resources.files("vaeflow.config") / "recipes" / f"{name}.toml").read_text(
        encoding="utf-8"
    )
    return plain_toml(text)
