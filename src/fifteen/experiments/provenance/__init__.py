"""Where a run comes from: code, command, packages, devices, host and time."""

from ._collect import Provenance as Provenance
from ._collect import collect as collect
