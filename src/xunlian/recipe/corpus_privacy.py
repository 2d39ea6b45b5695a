"""The settings of the privacy stage: which kinds of personal data are masked, and by what."""

from typing import Literal

from pydantic import Field, field_validator

from xunlian.recipe.table import Table

Kind = Literal["email", "phone", "ip", "card", "national_id", "plate", "credentials", "key"]
KINDS: tuple[Kind, ...] = (
    "email",
    "phone",
    "ip",
    "card",
    "national_id",
    "plate",
    "credentials",
    "key",
)


class Privacy(Table):
    """What is masked in a corpus."""

    mask: tuple[Kind, ...] = Field(
        KINDS,
        description="What is replaced by a placeholder: email; phone (international, US, UK, "
        "Chinese); ip (v4 and v6); card (payment cards, Chinese bank cards); national_id (Chinese "
        "identity number, US social security, UK national insurance); plate (Chinese and UK, "
        "others when named as such); credentials (in URLs); key (API keys, tokens, private keys).",
    )
    placeholder: str = Field(
        "<{kind}>",
        description="What takes its place; {kind} is the kind in capitals, such as <EMAIL>.",
    )

    @field_validator("placeholder")
    @classmethod
    def _check_placeholder(cls, value: str) -> str:
        if set(value.replace("{kind}", "")) & set("{}"):
            raise ValueError("the only field that a placeholder may have is {kind}")
        return value
