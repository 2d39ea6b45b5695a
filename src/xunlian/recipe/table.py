"""What all tables of a recipe have in common."""

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """A table of settings: frozen, and with no room for keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
