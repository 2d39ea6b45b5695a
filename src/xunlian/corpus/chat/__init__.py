"""Files of conversations in, a chat corpus out."""
