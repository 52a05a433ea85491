"""What benchmarks keep of plain fits, so that a command that is cut off goes on."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "bench"))

from questions import Kept


def test_what_was_found_out_is_not_found_out_again_nor_what_was_cut_off_believed(tmp_path):
    file, asked = tmp_path / "fits.jsonl", []

    def answer(kept, question):
        return kept.once(question, lambda: asked.append(question) or len(asked))

    first = Kept(file)
    assert [answer(first, ["fit", size, None, True]) for size in (8, 16, 8)] == [1, 2, 1]
    torn = file.read_text()[:-4]
    file.write_text(torn)
    for _ in range(2):
        again = Kept(file)
        assert [answer(again, ["fit", size, None, True]) for size in (8, 16)] == [1, 3]
    assert len(file.read_text().splitlines()) == 3
