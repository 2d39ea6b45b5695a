"""What a model can do: problems answered by it, and how many of the answers are right."""
