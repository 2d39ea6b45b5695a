"""The stages between reading and tokens: pure functions of a batch of texts."""
