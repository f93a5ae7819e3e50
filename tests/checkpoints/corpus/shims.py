"""What old flax asks of packages that no longer install, so that it runs and writes its files.

TensorFlow is asked for `gfile` alone, which is ordinary files here, and some names have left JAX
since. None of this has a part in the bytes that flax writes.
"""

import glob
import io
import os
import shutil
import sys
import types

import jax
import jax.tree_util


class File(io.FileIO):
    """`gfile.GFile`: a file, opened, that knows its size."""

    def size(self):
        return os.stat(self.fileno()).st_size


def rename(source, destination, overwrite=False):
    if os.path.exists(destination) and not overwrite:
        raise FileExistsError(destination)
    os.replace(source, destination)


def module(name, **names):
    made = types.ModuleType(name)
    made.__path__ = []
    made.__dict__.update(names)
    sys.modules[name] = made
    parent, _, child = name.rpartition(".")
    if parent:
        if parent not in sys.modules:
            module(parent)
        setattr(sys.modules[parent], child, made)
    return made


def install():
    gfile = {
        "GFile": File,
        "exists": os.path.exists,
        "glob": glob.glob,
        "isdir": os.path.isdir,
        "listdir": os.listdir,
        "makedirs": lambda path: os.makedirs(path, exist_ok=True),
        "remove": os.remove,
        "rename": rename,
        "rmtree": shutil.rmtree,
    }
    module("tensorflow.io.gfile", **gfile)
    module("tensorflow.compat.v2.io.gfile", **gfile)

    class GlobalDeviceArray:
        """A kind of array that JAX had for a while; nothing is one here."""

    module(
        "jax.experimental.gda_serialization.serialization",
        GlobalAsyncCheckpointManager=None,
        get_tensorstore_spec=None,
    )
    module("jax.experimental.global_device_array", GlobalDeviceArray=GlobalDeviceArray)
    for name in ("tree_leaves", "tree_multimap", "tree_flatten", "tree_unflatten"):
        if not hasattr(jax, name):
            setattr(jax, name, getattr(jax.tree_util, name, jax.tree_util.tree_map))
    from jax._src.numpy import lax_numpy

    if not hasattr(lax_numpy, "isin"):
        lax_numpy.isin = jax.numpy.isin
    from jax.interpreters import xla

    if not hasattr(xla, "DeviceArray"):
        xla.DeviceArray = jax.Array
