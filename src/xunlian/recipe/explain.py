"""Every setting of a recipe with its type, default and meaning, as text for a terminal."""

import textwrap

from xunlian.recipe.load import fields, type_name


def explain(width: int = 92) -> str:
    """One paragraph per setting, under the name of its table."""
    lines: list[str] = []
    table = None
    for name, field in fields().items():
        head, dot, _ = name.rpartition(".")
        if head != table:
            lines += ["", f"[{head}]" if dot else ""]
            table = head
        none = field.is_required() or field.default in (None, "", ())
        default = "" if none else f", default {_plain(field.default)}"
        lines.append(f"  {name}  ({type_name(field)}{default})")
        lines += textwrap.wrap(
            field.description or "", width, initial_indent="      ", subsequent_indent="      "
        )
    return "\n".join(lines).strip("\n") + "\n"


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
