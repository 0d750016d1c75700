"""
Show text that came from outside in a terminal, where it must not move the cursor, ring a bell or turn letters around.
"""

from __future__ import annotations


def plain(text: str) -> str:
    """
    Return text with everything unprintable shown as its code: no escape sequence, no change of direction.
    """
    return "".join(char if char.isprintable() else f"⟨U+{ord(char):04X}⟩" for char in text)
