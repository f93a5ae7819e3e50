"""`fifteen verify`."""

from fifteen._text import printable
from fifteen.experiments._verification import verify as verify_directory

from ._arguments import Chosen
from ._progress import progress
from ._selection import Selection


def verify(selection: Chosen = Selection()) -> int:  # noqa: B008  # It is frozen.
    """Read every file of experiments to its end, and compare all checksums.

    Names each damaged file, and for its experiment what is whole. The exit code is 1 if any is.

    Args:
        selection: which experiments.
    """
    damaged, whole = 0, 0
    for field in progress(selection.find_some().fields, "Verifying"):
        path = field.path
        results = list(verify_directory(path))
        bad = [result for result in results if result.problem]
        good = [str(result.path.relative_to(path)) for result in results if not result.problem]
        damaged, whole = damaged + len(bad), whole + len(good)
        for result in bad:
            problem = " ".join(result.problem.split())
            problem = problem.removeprefix(f"{result.path}: ")
            print(printable(f"DAMAGED {field.name}/{result.path.relative_to(path)}: {problem}"))
        if bad:
            print(printable(f"  whole in {field.name}: {', '.join(good) or 'nothing'}"))
    print(f"{whole} files are whole, {damaged} are damaged")
    return int(damaged > 0)
