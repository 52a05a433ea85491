"""Characters that a terminal or a file may lack, spelled in ASCII."""

import codecs
import io
import sys

SPELLED = str.maketrans(
    {"±": "+-", "×": "x", "–": "-", "−": "-", "…": "...", "µ": "u", "✓": "ok", "≥": ">="}
    | {"█": "#", "◀": "<", "→": "->", "•": "*"}
)


def in_ascii(text: str) -> str:
    return text.translate(SPELLED).encode("ascii", "replace").decode()


def spell_on_stdout() -> None:
    """What its encoding lacks is spelled from here on: an answer with a ? rather than none."""
    codecs.register_error("spelled", _spell)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="spelled")


def _spell(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return in_ascii(error.object[error.start : error.end]), error.end
