"""Laws of safeft.stats."""
