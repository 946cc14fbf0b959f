"""Which fields of the groups of settings some code reads; their own checks do not count.

A reading is ``x.field``, where x is known to be of the group: by the annotation of an argument, an
attribute or a returned value, or because it is assigned from such a one. `getattr` with a computed
name counts for the words of the same function and of the constants it uses. In the files that
declare groups only functions count that other code uses: what ``__post_init__`` calls is no use of
a field, nor is a property that nobody asks for.
"""

import ast
import dataclasses
import functools
from collections.abc import Iterator

Found = set[tuple[str, str]]
"""Pairs of group and field."""


@dataclasses.dataclass
class _Unit:
    """A function or the rest of a module, with what its variables are."""

    module: str
    name: str  # of the function, "" for the rest
    owner: str  # class that it is a method of, or ""
    node: ast.AST


def fields_read(sources: dict[str, str], groups: dict[str, str]) -> Found:
    """What the code reads of the groups.

    Args:
        sources: text of every file, by name.
        groups: file that declares it, by the group's class name.
    """
    trees = {name: _parse(text) for name, text in sources.items()}
    known = _Types(trees, groups)
    units = [unit for name, tree in trees.items() for unit in _units(name, tree)]
    declaring = set(groups.values())
    counted = [unit for unit in units if unit.module not in declaring]
    waiting = [
        unit
        for unit in units
        if unit.module in declaring and unit.name not in ("", "__post_init__")
    ]
    read: Found = set()
    used: set[str] = set()  # names of functions
    while counted:
        for unit in counted:
            known.read_in(unit, read, used)
        counted = [
            unit
            for unit in waiting
            if (unit.owner, unit.name) in read or (not unit.owner and unit.name in used)
        ]
        waiting = [unit for unit in waiting if unit not in counted]
    return read


def _units(module: str, tree: ast.Module) -> Iterator[_Unit]:
    rest = ast.Module([], [])
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield _Unit(module, node.name, "", node)
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    yield _Unit(module, inner.name, node.name, inner)
                else:
                    rest.body.append(inner)
        else:
            rest.body.append(node)
    yield _Unit(module, "", "", rest)


class _Types:
    """Of which groups an expression may be."""

    def __init__(self, trees: dict[str, ast.Module], groups: dict[str, str]):
        self.groups = set(groups)
        self.attributes: dict[str, set[str]] = {}  # x.problem, whatever x is
        self.returns: dict[str, set[str]] = {}
        self.constants: dict[str, set[str]] = {}
        for tree in trees.values():
            for node in tree.body:
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    words = _words(node.value)
                    self.constants.setdefault(node.targets[0].id, set()).update(words)
            for node in ast.walk(tree):
                if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                    self._note(self.attributes, node.target.id, node.annotation)
                elif isinstance(node, ast.FunctionDef) and node.returns is not None:
                    self._note(self.returns, node.name, node.returns)

    def _note(self, table: dict[str, set[str]], name: str, annotation: ast.AST) -> None:
        if found := self._named(annotation):
            table.setdefault(name, set()).update(found)

    def _named(self, annotation: ast.AST) -> set[str]:
        words = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}
        return self.groups & (words | _words(annotation))

    def read_in(self, unit: _Unit, read: Found, used: set[str]) -> None:
        """Adds what a unit reads of the groups, and the functions it names."""
        nodes = _in_order(unit.node)
        variables = self._variables(unit, nodes)
        computed: set[str] = set()  # groups of which it reads a field whose name it computes
        words: set[str] = set()
        for node in nodes:
            if isinstance(node, ast.Name):
                used.add(node.id)
                words |= self.constants.get(node.id, set())
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                words.add(node.value)
            elif isinstance(node, ast.Attribute):
                used.add(node.attr)
                if isinstance(node.ctx, ast.Load):
                    read |= {(group, node.attr) for group in self._of(node.value, variables)}
            elif isinstance(node, ast.Call) and node.args:
                if isinstance(node.func, ast.Attribute):  # x.per_stage("min_width")
                    x, names = node.func.value, node.args
                elif isinstance(node.func, ast.Name) and node.func.id == "getattr":
                    x, names = node.args[0], node.args[1:2]
                    if not isinstance(names[0], ast.Constant):
                        computed |= self._of(x, variables)
                else:
                    continue
                given = {name.value for name in names if isinstance(name, ast.Constant)}
                read |= {(group, name) for group in self._of(x, variables) for name in given}
        read |= {(group, word) for group in computed for word in words}

    def _variables(self, unit: _Unit, nodes: list[ast.AST]) -> dict[str, set[str]]:
        """Of which groups a unit's variables may be."""
        variables: dict[str, set[str]] = {}
        if unit.owner in self.groups:
            variables["self"] = {unit.owner}
        for node in nodes:
            if isinstance(node, ast.arg) and node.annotation is not None:
                self._note(variables, node.arg, node.annotation)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                self._note(variables, node.target.id, node.annotation)
            elif isinstance(node, ast.Assign | ast.NamedExpr):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                self._bind(targets, node.value, variables)
            elif isinstance(node, ast.For | ast.comprehension):
                self._bind([node.target], node.iter, variables)
        return variables

    def _bind(self, targets: list[ast.expr], value: ast.expr, variables: dict) -> None:
        for target in targets:
            pairs = [(target, value)]
            if isinstance(target, ast.Tuple):
                values = value.elts if isinstance(value, ast.Tuple) else [value] * len(target.elts)
                pairs = list(zip(target.elts, values, strict=False))
            for name, given in pairs:
                if isinstance(name, ast.Name) and (groups := self._of(given, variables)):
                    variables.setdefault(name.id, set()).update(groups)
                elif isinstance(name, ast.Attribute) and (groups := self._of(given, variables)):
                    self.attributes.setdefault(name.attr, set()).update(groups)

    def _of(self, node: ast.expr, variables: dict[str, set[str]]) -> set[str]:
        if isinstance(node, ast.Name):
            return variables.get(node.id, set())
        if isinstance(node, ast.Attribute):
            return self.attributes.get(node.attr, set())
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if name in self.groups:
                return {name}
            if name == "replace" and node.args:
                return self._of(node.args[0], variables)
            return self.returns.get(name, set())
        if isinstance(node, ast.Subscript):
            return self._of(node.value, variables)
        return set()


@functools.cache
def _parse(text: str) -> ast.Module:
    return ast.parse(text)


def _words(node: ast.AST) -> set[str]:
    return {
        inner.value
        for inner in ast.walk(node)
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str)
    }


def _in_order(node: ast.AST) -> list[ast.AST]:
    """The node and all within it, as they stand in the text."""
    found, todo = [], [node]
    while todo:
        found.append(todo.pop())
        todo += reversed(list(ast.iter_child_nodes(found[-1])))
    return found
