"""What the quality stage is made of: a table of words, and the published rules upon it."""
