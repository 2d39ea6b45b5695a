"""Model folders that other software opens, and theirs opened here."""
