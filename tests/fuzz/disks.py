"""Attack: on a full disk, earlier saves are kept, and logs are written later."""

import collections
import contextlib
import os
import subprocess

from script import Script, check

ROOM = 6 << 20


@contextlib.contextmanager
def small_disk(directory, inodes):
    options = f"size={ROOM},nr_inodes={inodes}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


def fill(path, rest):
    """Fill a disk up to a number of free bytes."""
    path.write_bytes(b"")
    disk = os.statvfs(path)
    with contextlib.suppress(OSError):
        path.write_bytes(bytes(max(0, disk.f_bavail * disk.f_frsize - rest)))


def attack(rng, directory):
    if os.geteuid():
        return ["skipped, since it needs root"]
    said, counts = collections.defaultdict(list), collections.Counter()
    with small_disk(directory, rng.choice([12, 1000, 1000])):
        run, filler = directory / "run", directory / "filler"
        script = Script(rng, run, lambda what, number: said[what].append(number))
        for _ in range(rng.randrange(10, 40)):
            if rng.random() < 0.4:
                fill(filler, rng.choice([0, rng.randrange(1 << 15), rng.randrange(ROOM)]))
            try:
                script.work()
                counts["returned"] += 1
            except OSError:
                counts["failed"] += 1
                with contextlib.suppress(OSError):
                    script.experiment.flush()
                # Any of these calls may raise the error of a background save.
                said.pop("handed", None)
                names = [name for _, _, files in os.walk(directory) for name in files]
                # The mark of an open directory is removed when it is closed.
                left = [n for n in names if n.endswith(".fifteen-tmp") and ".open." not in n]
                assert not left, names
                check(run, said, safe=max(said["flushed"], default=0))
        filler.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            script.experiment.flush()
            said["saved"] += said["handed"]
        script.experiment.close()
        said.pop("handed", None)
        check(run, said)
    return counts
