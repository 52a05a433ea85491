"""What was found out at some cost, kept in a file: a command that was cut off goes on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

Answer = TypeVar("Answer")


class Kept:
    """Answers by question, one a line; without a file, for as long as the process lasts.

    A question is a list of what JSON can hold. A line that was cut off is skipped.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self.answers: dict[str, Any] = {}
        text = file.read_text() if file is not None and file.exists() else ""
        for line in text.splitlines():
            try:
                question, answer = json.loads(line)
            except ValueError:
                continue
            self.answers[json.dumps(question)] = answer
        if text and not text.endswith("\n"):
            self._write("\n")

    def once(self, question: list[Any], find_out: Callable[[], Answer]) -> Answer:
        key = json.dumps(question)
        if key not in self.answers:
            self.answers[key] = find_out()
            self._write(json.dumps([question, self.answers[key]]) + "\n")
        answer: Answer = self.answers[key]
        return answer

    def _write(self, text: str) -> None:
        if self.file is not None:
            with self.file.open("a") as file:
                file.write(text)
