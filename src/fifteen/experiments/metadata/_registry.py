"""All schemas: the factories in order of precedence, and the meanings of tags."""

from . import _arrays, _basic, _collections, _values
from ._classes import make_class, make_opaque
from ._legacy import load_legacy
from ._schema import Schemas
from ._unions import make_literal, make_type_variable, make_union

SCHEMAS = Schemas(
    factories=[
        _basic.make_basic,
        make_literal,
        _values.make_enum,
        _values.make_hooked,
        make_class,
        _collections.make_abstract,
        _collections.make_sequence,
        _collections.make_mapping,
        make_union,
        make_type_variable,
        _arrays.make_array,
        make_opaque,
    ],
    tags={**_basic.TAGS, **_collections.TAGS, **_values.TAGS, **_arrays.TAGS},
    loaders=[_arrays.load_jax_array, load_legacy],
)
