"""Expression: the language of `where` and `--where` for conditions and values.

```
config.lr < 0.1 and min(train/loss) < 0.5
status == 'failed' or not exists(test/accuracy)
0.1 <= dropout < 0.5 and optimizer in ('adam', 'adamw') and 'paper' in tags
```

Python's parser reads it, after each name has been replaced by underscores, so that `train/loss`,
`lambda` and names in backquotes are names. Nothing is ever run as Python.

A `/` right between two names is part of a name, and divides otherwise: `train/loss` is a scalar;
`train / loss`, `loss/2` and `2/loss` are quotients.
"""

import ast
import fnmatch
import operator
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from ._errors import ExpressionError
from ._missing import Missing
from ._values import MAX_BITS, comparable

Lookup = Callable[[str, str], Any]
"""Takes a name and what is asked of it, `value` or one of `STATISTICS`; may return a `Missing`."""

Evaluate = Callable[[Lookup], Any]

STATISTICS = ("last", "first", "min", "max", "mean", "len")
_FUNCTIONS = (*STATISTICS, "abs", "exists", "matches")

MAX_LENGTH = 2000
_MAX_DEPTH = 50

_WORDS = {"and", "or", "not", "in", "is", "True", "False", "None"}

_TOKEN = re.compile(
    r"""
      (?P<text> '(?:\\.|[^'\\])*' | "(?:\\.|[^"\\])*" )
    | (?P<number> \.?\d (?:[eE][+-]?\d|[\w.])* )
    | (?P<name> `[^`]*`
        | [^\W\d]\w* (?:\.\w+|/[^\W\d]\w*)* (?: :(?:last|first|min|max|mean|len)\b )? )
    """,
    re.VERBOSE,
)

_ARITHMETIC: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.Pow: lambda base, exponent: float(base) ** float(exponent),
}

_COMPARISONS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda item, items: item in items,
    ast.NotIn: lambda item, items: item not in items,
}

_REMEDIES: dict[type[ast.AST], str] = {
    ast.BitAnd: "write `and`",
    ast.BitOr: "write `or`",
    ast.Invert: "write `not`",
    ast.Is: "write ==",
    ast.IsNot: "write !=",
}

_MISTAKES = {
    r"(?<![=<>!])=(?!=)": "write == to compare",
    "&&": "write `and`",
    r"\|\|": "write `or`",
    "!(?!=)": "write `not`",
}


class Expression:
    """A valid expression; errors point at the place.

    `text` is its source, and `names` are the names of values in it, in order. `evaluate` returns
    its value; a `Missing` if it needs a value that is missing. A comparison with what is missing,
    or cannot be compared, is False.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._names: dict[str, None] = {}
        self.evaluate = self._compile(self._parse(), 0)
        self.names = tuple(self._names)

    def is_true(self, lookup: Lookup) -> bool:
        """Return whether the value counts as true; a missing one does not."""
        return _is_true(self.evaluate(lookup))

    def _parse(self) -> ast.expr:
        if len(self.text) > MAX_LENGTH:
            raise ExpressionError(
                f"expected at most {MAX_LENGTH:,} characters, found {len(self.text):,}"
            )
        hidden = _TOKEN.sub(_hide_name, re.sub(r"\s", " ", self.text))
        self._source = hidden.lstrip()
        self._indent = len(hidden) - len(self._source)
        if not self._source:
            raise ExpressionError("expected an expression such as `loss < 0.5`, found nothing")
        # Outside of strings, these are mistakes.
        blank = _TOKEN.sub(lambda token: "_" * len(token[0]), hidden)
        for pattern, remedy in _MISTAKES.items():
            if found := re.search(pattern, blank):
                raise self._error(remedy, found.start())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = ast.parse(self._source, mode="eval").body
        except SyntaxError as error:
            # The parser gives no position if the text ends too early.
            at = self._indent + error.offset - 1 if error.offset else len(self.text)
            raise self._error("this cannot be parsed", min(at, len(self.text))) from None
        except (ValueError, MemoryError, RecursionError):
            raise self._error("this cannot be parsed, or is nested too deeply", 0) from None
        if isinstance(found, ast.Tuple) and self._source[found.col_offset] != "(":
            raise self._error("expected one expression; join them by `and` or `or`", found)
        return found

    def _compile(self, node: ast.expr, depth: int) -> Evaluate:
        """Return a function that evaluates a node; raise unless it is in the language."""
        if depth > _MAX_DEPTH:
            raise self._error("this is nested too deeply", node)

        def compiled(*children: ast.expr) -> list[Evaluate]:
            return [self._compile(child, depth + 1) for child in children]

        match node:
            case ast.Constant(value=bool() | int() | float() | str() | None as constant):
                return lambda lookup: constant
            case ast.Name():
                name = self._value_name(node)
                return lambda lookup: comparable(lookup(name, "value"))
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                items = compiled(*elements)
                return lambda lookup: [item(lookup) for item in items]
            case ast.BoolOp(op=op, values=operands):
                items, combine = compiled(*operands), all if isinstance(op, ast.And) else any
                return lambda lookup: combine(_is_true(item(lookup)) for item in items)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                [value] = compiled(operand)
                return lambda lookup: not _is_true(value(lookup))
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as op, operand=operand):
                [value], sign = compiled(operand), -1 if isinstance(op, ast.USub) else 1
                return lambda lookup: _calculate(operator.mul, sign, value(lookup))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                (first, second), operation = compiled(left, right), _ARITHMETIC[type(op)]
                return lambda lookup: _calculate(operation, first(lookup), second(lookup))
            case ast.Compare(left=left, ops=ops, comparators=others) if all(
                type(op) in _COMPARISONS for op in ops
            ):
                items, operations = compiled(left, *others), [_COMPARISONS[type(op)] for op in ops]
                return lambda lookup: _compare(operations, (item(lookup) for item in items))
            case ast.Subscript(value=operand, slice=index) if _is_index(index):
                [value], number = compiled(operand), ast.literal_eval(index)
                return lambda lookup: _item(value(lookup), number)
            case ast.Call(func=ast.Name() as function, args=arguments, keywords=[]) if arguments:
                name, only = self._name_of(function), arguments[0] if len(arguments) == 1 else None
                if name not in _FUNCTIONS:
                    known = ", ".join(_FUNCTIONS)
                    raise self._error(f"there is no function {name!r}; known: {known}", function)
                if name == "exists" and not isinstance(only, ast.Name):
                    raise self._error("exists takes one name", node)
                if len(arguments) != {"abs": 1, "matches": 2}.get(name, len(arguments)):
                    raise self._error("matches takes a value and a pattern, and abs a value", node)
                if name in STATISTICS and isinstance(only, ast.Name):
                    tag = self._value_name(only)
                    return lambda lookup: lookup(tag, name)
                items = compiled(*arguments)
                return lambda lookup: _call(name, [item(lookup) for item in items])
            case _:
                kinds = map(type, [getattr(node, "op", None), *getattr(node, "ops", ())])
                remedies = [_REMEDIES[kind] for kind in kinds if kind in _REMEDIES]
                remedy = (remedies or ["it is not part of this language"])[0]
                raise self._error(f"not supported: {remedy}", node)

    def _value_name(self, node: ast.Name) -> str:
        name = self._name_of(node)
        self._names[name] = None
        return name

    def _name_of(self, node: ast.Name) -> str:
        start = self._column(node.col_offset)
        return self.text[start : start + len(node.id)].strip("`")

    def _column(self, offset: int) -> int:
        """Convert the parser's byte offset to a column."""
        return self._indent + len(self._source.encode()[:offset].decode())

    def _error(self, problem: str, at: ast.expr | int) -> ExpressionError:
        column = at if isinstance(at, int) else self._column(at.col_offset)
        line = re.sub(r"\s", " ", self.text)
        space = "".join(
            "  " if unicodedata.east_asian_width(c) in "WF" else " " for c in line[:column]
        )
        return ExpressionError(f"{problem}\n  {line}\n  {space}^")


def statistic_of(values: Any, function: str) -> Any:
    """Return the min, max, mean, first or last of some numbers, or their count."""
    if isinstance(values, str | int | float):
        values = [values]
    if not isinstance(values, list | tuple) or any(isinstance(v, Missing) for v in values):
        return Missing.ABSENT
    if function == "len":
        return len(values)
    if not values or not all(isinstance(value, int | float) for value in values):
        return Missing.ABSENT
    if function in ("first", "last"):
        return values[0 if function == "first" else -1]
    if function == "mean":
        return _calculate(lambda count, _: sum(values) / count, len(values), 0)
    return min(values) if function == "min" else max(values)


def _hide_name(token: re.Match[str]) -> str:
    text = token[0]
    return text if token["name"] is None or text in _WORDS else "_" * len(text)


def _is_index(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant) and type(node.value) is int


def _is_true(value: Any) -> bool:
    return not isinstance(value, Missing) and bool(value)


def _calculate(operation: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    """Apply an operator to two numbers; an undefined result is missing."""
    if not (isinstance(left, int | float) and isinstance(right, int | float)):
        return Missing.ABSENT
    try:
        result = operation(left, right)
    except (ArithmeticError, ValueError):
        return Missing.ABSENT
    is_huge = isinstance(result, int) and result.bit_length() > MAX_BITS
    return result if isinstance(result, int | float) and not is_huge else Missing.ABSENT


def _compare(operations: list[Callable[[Any, Any], Any]], values: Iterator[Any]) -> bool:
    left = next(values)
    for operation, right in zip(operations, values, strict=True):
        if isinstance(left, Missing) or isinstance(right, Missing):
            return False
        try:
            if not operation(left, right):
                return False
        except (TypeError, ValueError, ArithmeticError):
            return False
        left = right
    return True


def _item(items: Any, number: int) -> Any:
    is_there = isinstance(items, list | tuple) and -len(items) <= number < len(items)
    return items[number] if is_there else Missing.ABSENT


def _call(function: str, values: list[Any]) -> Any:
    if function == "exists":
        return not isinstance(values[0], Missing)
    if function == "matches":
        return all(isinstance(value, str) for value in values) and fnmatch.fnmatchcase(*values)
    if function == "abs":
        return _calculate(lambda value, _: abs(value), values[0], 0)
    return statistic_of(values[0] if len(values) == 1 else values, function)
