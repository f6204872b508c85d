"""Prompts become responses: one protocol, several engines."""

from safeft.generation.generator import Generator
from safeft.generation.scripted import Scripted

__all__ = ["Generator", "Scripted"]
