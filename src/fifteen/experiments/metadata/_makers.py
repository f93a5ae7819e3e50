"""Which types have codecs: all that make one, in the order in which they are asked."""

from ._any import OPEN as OPEN
from ._any import make_any, make_opaque
from ._arrays import make_array
from ._atoms import make_atom
from ._basic import make_basic, make_enum, make_literal
from ._classes import make_class
from ._codec import codec_of as codec_of
from ._codec import makers
from ._containers import (
    make_fixed_tuple,
    make_mapping,
    make_sequence,
)
from ._dtypes import make_dtype
from ._namespaces import make_namespace
from ._ranges import make_range
from ._unions import make_type_variable, make_union

makers += [
    make_basic,
    make_literal,
    make_enum,
    make_atom,
    make_class,
    make_sequence,
    make_fixed_tuple,
    make_mapping,
    make_range,
    make_namespace,
    make_union,
    make_type_variable,
    make_dtype,
    make_array,
    make_any,
    make_opaque,
]
