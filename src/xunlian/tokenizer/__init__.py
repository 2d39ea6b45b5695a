"""Tokenizers: learned from text, opened, saved; text to ids and back."""
