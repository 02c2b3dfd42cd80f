"""The drawn world: what things look like, how they are drawn, and the language that speaks of them."""
