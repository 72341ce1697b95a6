"""What the code says of its classes and their attributes, below each of them."""

import ast
import inspect
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple


class Member(NamedTuple):
    """An attribute of a class, or a value of an enum."""

    name: str
    annotation: str
    """Its type, as it is written; of an enum's value nothing."""
    text: str
    """Its docstring, in one line."""


def members(of: type) -> Iterator[Member]:
    """The attributes of a class that have a docstring."""
    (tree,) = ast.parse(inspect.getsource(of)).body
    assert isinstance(tree, ast.ClassDef)
    return members_of(tree)


def members_of(tree: ast.ClassDef) -> Iterator[Member]:
    """The same of a class that is read, not imported."""
    for attribute, docstring in pairwise(tree.body):
        match attribute, docstring:
            case (
                ast.AnnAssign(target=ast.Name(id=name), annotation=annotation),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield Member(name, ast.unparse(annotation), one_line(text))
            case (
                ast.Assign(targets=[ast.Name(id=name)]),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield Member(name, "", one_line(text))


def described(docstring: str) -> tuple[str, str]:
    """What a docstring says, and the default that it ends with, if it says one."""
    text, _, default = one_line(docstring).partition(" Default: ")
    return text, default.rstrip(".")


def one_line(text: str) -> str:
    """*text* without its line breaks, as a cell of a table needs it."""
    return " ".join(text.split())
