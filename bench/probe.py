"""Our answer against the truth: which is the largest batch that trains, and at what cost?

For each model, under a limit that its data cannot satisfy: `autobatch probe`; then the truth, with
nothing of autobatch in it: sizes are bisected, and the largest is that at which a plain `fit` with
validation (bench/fit.py) of 200 steps, or 15 s where those take longer, survives in each of three
fresh interpreters. Then our answer, and one above the truth, meet a plain fit of 200 steps; and the
size that keeps the headroom, where our answer did not survive that. On the CPU operations overlap,
and the input pipeline shares the allocator, so that memory varies a little from run to run: a size
near the limit survives in some processes and not in others. So sizes on both sides of the truth are
tried too, each a step further: above it until three in a row fail, below it until two in a row
survive three times. What lies between is the truth, a range where they mix. A step is 1 %, with
--exact one sample; to half of that the truth is bisected. bench/fit.py says what limits, and what
fitting means, on other backends (--backend jax or torch, where they are installed) and on a GPU.

    python bench/probe.py [NAME ...] [--exact] [--backend BACKEND] [--gpu] [--limit MIB]
                          [--keep DIR]
"""

import argparse
import sys
import time
from pathlib import Path

from questions import (
    MODELS,
    ON_GPU,
    SURVIVES,
    Question,
    folder_of,
    head,
    keep_in,
    plain_fit,
    recipe_in,
)

import autobatch

TRUTH_SECONDS = 15
REPEATS = 3  # of a size that is called fitting
LOOK_ABOVE = 3  # sizes that fail in a row, before all above are held to
LOOK_BELOW = 2  # sizes that survive in a row, before all below are held to


class Truth:
    """What plain fits say; each size is asked once."""

    def __init__(self, question: Question) -> None:
        self.question = question
        compiled = question.backend == "jax" and not question.gpu
        self.repeats = 1 if compiled else REPEATS  # what XLA says does not vary
        self.said: dict[int, list[str]] = {}

    def survives(self, size: int, repeats: int) -> bool:
        """Every time; one failure is enough."""
        said = self.said.setdefault(size, [])
        while len(said) < repeats and said.count(SURVIVES) == len(said):
            said.append(plain_fit(self.question, size, TRUTH_SECONDS, len(said)))
        return said.count(SURVIVES) >= repeats

    def largest(self, near: int, upper: int) -> tuple[int, int]:
        """Below the first all are held to train, above the second none to train each time.

        From `near` outwards, then bisected: each size is tried once, and the largest that survived
        again; where it then fails, the search goes on below.
        """
        while True:
            found = self._largest_once(near, upper)
            if self.survives(found, self.repeats):
                return self._clean_from(found), self._beyond(found, upper)
            near = found

    def step(self, size: int) -> int:
        return 1 if self.question.exact else max(1, size // 100)

    def _clean_from(self, found: int) -> int:
        size, clean, survived = found, found, 0
        while self.repeats > 1 and survived < LOOK_BELOW and size > 1:
            size = max(1, size - self.step(found))
            if not self.survives(size, self.repeats):
                survived, clean = 0, 0
            else:
                survived, clean = survived + 1, clean or size
        return clean or 1

    def _beyond(self, largest: int, upper: int) -> int:
        size, failed, step = largest, 0, self.step(largest)
        while failed < LOOK_ABOVE and size + step <= upper:
            size += step
            if self.survives(size, self.repeats):
                largest, failed = size, 0
            else:
                failed += 1
        return largest

    def _largest_once(self, near: int, upper: int) -> int:
        within, step = 1 if self.question.exact else max(1, near // 200), max(1, near // 100)
        size = near
        while True:
            self.survives(size, 1)
            failed = (s for s, said in self.said.items() if said.count(SURVIVES) < len(said))
            bad = min(failed, default=None)
            good = max((s for s in self.said if bad is None or s < bad), default=0)
            if bad == 1:
                raise SystemExit(f"{self.question.name}: not even a batch of 1 survives")
            if good == upper or (bad is not None and bad - good <= within):
                return good
            if bad is None:
                size, step = min(good + step, upper), 2 * step
            elif good == 0:
                size, step = max(1, bad - step), 2 * step
            else:
                size = (good + bad) // 2


def row(question: Question) -> str:
    with folder_of("probe", question) as folder:
        recipe = recipe_in(folder, question.name)
        began = time.perf_counter()
        ours = autobatch.probe(
            recipe,
            overrides=question.overrides() + (["time_limit=2h"] if question.gpu else []),
            run_directory=folder / "run",
            exact=question.exact,
        )
        seconds = time.perf_counter() - began
        searched = [point for point in ours.probes if point.limit_bytes == ours.limit_bytes]
        ran = [p for p in searched if p.outcome not in ("predicted", "over_budget")]
    upper = 65536 if ours.bounded_by != "samples" else ours.largest_fitting
    plain = Truth(question)
    low, high = plain.largest(ours.largest_fitting, upper)
    off = [f"{ours.largest_fitting / end - 1:+.1%}" for end in sorted({low, high}, reverse=True)]
    above = high + plain.step(high)
    beyond = "no such batch" if ours.bounded_by == "samples" else plain_fit(question, above)
    at_ours = plain_fit(question, ours.largest_fitting)
    with_headroom = "" if at_ours == SURVIVES else plain_fit(question, ours.ceiling)
    compiled = [p for p in searched if p.outcome in ("predicted", "over_budget")]
    failures = sum(point.outcome != "fits" for point in ran)
    truth = str(low) if low == high else f"{low} to {high}"
    return (
        f"| {question.name} | {question.backend} | {question.limit} | "
        f"{ours.largest_fitting} | {truth} | "
        f"{' to '.join(off)} | {len(ran)} | {failures} | "
        f"{len(compiled) or ''} | "
        f"{sum(point.seconds for point in searched):.0f} s | {ours.ceiling} | {seconds:.0f} s | "
        f"{at_ours} | {with_headroom} | {beyond} |"
    )


def print_head() -> None:
    head(
        *("model", "backend", "limit", "ours", "truth", "error", "probes", "failures"),
        *("only compiled", "search", "with headroom", "in all"),
        *("200 steps at ours", "with headroom", "above truth"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--backend", default="tensorflow")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--limit", type=int, metavar="MIB")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="to go on from, if it is cut off")
    given = parser.parse_args()
    if given.keep:
        keep_in(given.keep)
    print_head()
    for name in given.names or (ON_GPU if given.gpu else MODELS):
        limit = given.limit or (None if given.gpu else MODELS[name][3])
        print(row(Question(name, given.exact, given.backend, given.gpu, limit)))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
