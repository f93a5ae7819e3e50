"""`fifteen verify`."""

from fifteen._progress import progress
from fifteen._text import printable
from fifteen.experiments._fields import Fields
from fifteen.experiments._verification import Verified
from fifteen.experiments._verification import verify as verify_directory

from ._selection import Chosen, Selection


def verify(selection: Chosen = Selection()) -> int:
    """Read every file of experiments to its end, and compare all checksums.

    Names each damaged file, and for its experiment what is whole. The exit code is 1 if any is.

    Args:
        selection: which experiments.
    """
    damaged, whole = 0, 0
    fields = selection.find_some().fields
    with progress("Verifying", sum(map(_count, fields))) as advance:
        for field in fields:
            path = field.path
            results: list[Verified] = []
            for result in verify_directory(path):
                results.append(result)
                advance(1)
            bad = [result for result in results if result.problem]
            good = [str(result.path.relative_to(path)) for result in results if not result.problem]
            damaged, whole = damaged + len(bad), whole + len(good)
            for result in bad:
                problem = " ".join(result.problem.split())
                # An error in metadata has line and column right after the path.
                problem = problem.removeprefix(str(result.path)).removeprefix(": ")
                colon = "" if problem.startswith(":") else ": "
                name = f"{field.name}/{result.path.relative_to(path)}"
                print(printable(f"DAMAGED {name}{colon}{problem}"))
            if bad:
                print(printable(f"  whole in {field.name}: {', '.join(good) or 'nothing'}"))
    print(f"{whole} files are whole, {damaged} {'is' if damaged == 1 else 'are'} damaged")
    return int(damaged > 0)


def _count(field: Fields) -> int:
    """Return about how many files there are to verify."""
    checkpoints = field.summary.checkpoints.values() if field.summary else ()
    return 1 + len(field.metadata_names) + sum(map(len, checkpoints))
