"""Laws of safeft.guarding."""
