"""The values of options as a person types and reads them on one line."""

from __future__ import annotations

from typing import Any

from tuiftune.catalog import OptionInfo
from tuiftune.errors import ProfileError
from tuiftune.toml_lines import parse


def parts_of(option: OptionInfo) -> set[str]:
    """The types it may have, in TOML's words; its choices are texts."""
    return {"string" if part.startswith("'") else part for part in option.type.split(" | ")}


def is_text(option: OptionInfo) -> bool:
    """Whether it is a text and nothing else, so that what is typed needs no quotes: `0` is a name of a GPU."""
    return parts_of(option) == {"string"}


def is_switch(option: OptionInfo) -> bool:
    return option.type == "boolean"


def is_table(option: OptionInfo) -> bool:
    return parts_of(option) == {"table"}


def choices_of(option: OptionInfo) -> list[Any]:
    """What to step through: the choices of an option that has no other values, or true and false."""
    if is_switch(option):
        return [False, True]
    literal = all(part.startswith("'") for part in option.type.split(" | "))
    return list(option.choices) if literal else []


def read_value(text: str, option: OptionInfo) -> Any:
    """What was typed: TOML where the option may be something else than a text, else the text itself.

    In a text `\\n` and `\\t` are a line break and a tab; one in quotes is TOML's, with all of its escapes.
    """
    stripped = text.strip()
    quoted = stripped[:1] in ("'", '"') and len(stripped) > 1
    if quoted or not is_text(option):
        found = _toml(stripped)
        if found is not None:
            return found
    return stripped.replace("\\n", "\n").replace("\\t", "\t")


def _toml(text: str) -> Any:
    """What TOML takes a text for, None where it is no value."""
    try:
        table = parse(f"value = {text}", "")
    except ProfileError:
        return None
    return table["value"] if set(table) == {"value"} else None


def written(value: Any, option: OptionInfo) -> str:
    """The value as it is to be typed: `read_value` makes the same of it."""
    if isinstance(value, str):
        for text in (value, value.replace("\n", "\\n").replace("\t", "\\t")):
            if read_value(text, option) == value and type(read_value(text, option)) is str:
                return text
    return toml(value)


def toml(value: Any) -> str:
    """The value as it stands in a profile, on one line."""
    import tomli_w

    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(inner) for inner in value) + "]"
    return tomli_w.dumps({"v": value}).removeprefix("v = ").strip()


def _key(key: str) -> str:
    import tomli_w

    return tomli_w.dumps({key: 0}).removesuffix(" = 0\n")


def read_item(text: str) -> tuple[str, Any]:
    """`key = value` for a table. Raises ProfileError where it is none."""
    table = parse(text, "")
    if len(table) != 1:
        from tuiftune.errors import Problem

        raise ProfileError([Problem("has no KEY = VALUE", hint="E.g. n_layer = 6")])
    ((key, value),) = table.items()
    return key, value
