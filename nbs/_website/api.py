"What the website says of a function, a class or a method: a renderer for nbdev's `show_doc`."
import ast
import inspect
import io
import re
import sys
import tokenize
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from pathlib import Path

from nbdev.doclinks import NbdevLookup

from pages import CFG, ROOT, github


class Source:
    "A module as its text says it: definitions by line and name, comments by line."
    def __init__(self, module):
        self.file = Path(sys.modules[module].__file__)
        text = self.file.read_text(encoding="utf-8")
        self.lines = text.split("\n")
        self.defs, self.classes = {}, {}
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                self.defs[min([node.lineno, *(d.lineno for d in node.decorator_list)])] = node
            if isinstance(node, ast.ClassDef): self.classes[node.name] = node
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        self.comments = {t.start[0]: t.string.lstrip("# ").strip() for t in tokens if t.type == tokenize.COMMENT}

    def node(self, obj):
        "The definition of a function or a class."
        return self.classes[obj.__name__] if inspect.isclass(obj) else self.defs[obj.__code__.co_firstlineno]

    def says(self, node):
        "The text of a piece of syntax, on one line. (`ast.get_source_segment` splits the whole file each time.)"
        if not node: return ""
        lines = [line.encode() for line in self.lines[node.lineno - 1:node.end_lineno]] # columns are bytes
        lines[-1] = lines[-1][:node.end_col_offset]
        lines[0] = lines[0][node.col_offset:]
        return " ".join(b" ".join(lines).decode().split())

    def comment(self, node):
        "The comment at the end of a line, or on the lines of their own above it."
        if node.lineno in self.comments: return self.comments[node.lineno]
        above, i = [], node.lineno - 1
        while i in self.comments and self.lines[i - 1].lstrip().startswith("#"):
            above.insert(0, self.comments[i])
            i -= 1
        return " ".join(above)


@lru_cache(None)
def source(module): return Source(module)


def bare(member):
    "The function behind a method, a property or something wrapped; None for what is none."
    member = getattr(member, "__func__", member) # of a class method, a static one, or one that is bound
    if isinstance(member, property): member = member.fget
    member = inspect.unwrap(getattr(member, "func", member)) # functools.cached_property keeps it in `func`
    return member if inspect.isfunction(member) else None


def arguments(fn):
    "[(name, type, default, comment), ...] of a function, and (type, comment) of what it returns."
    src = source(fn.__module__)
    node = src.node(fn)
    a = node.args
    args = [*a.posonlyargs, *a.args]
    found = [("", x, d) for x, d in zip(args, [None]*(len(args) - len(a.defaults)) + a.defaults)]
    if a.vararg: found.append(("*", a.vararg, None))
    elif a.kwonlyargs: found.append(("*", None, None))
    found += [("", x, d) for x, d in zip(a.kwonlyargs, a.kw_defaults)]
    if a.kwarg: found.append(("**", a.kwarg, None))
    rows = [(star + x.arg, src.says(x.annotation), src.says(d), src.comment(x)) if x else (star, "", "", "")
            for star, x, d in found]
    if rows and rows[0][0] in ("self", "cls"): rows = rows[1:]
    returns = src.comments.get(node.returns.lineno, "") if node.returns and node.returns.lineno > node.lineno else ""
    one_line = node.args.args and node.body[0].lineno == node.lineno # a comment there is about the code
    return ([(*r[:3], "") for r in rows] if one_line else rows), (src.says(node.returns), returns)


def has_fields(cls): return is_dataclass(cls) or issubclass(cls, tuple) and "_fields" in vars(cls)


def data_fields(cls):
    """[(name, type, default, comment, is it a new default?), ...] of a dataclass or named tuple. A field that
    a subclass repeats without a comment keeps the inherited one."""
    out, names = {}, [f.name for f in fields(cls)] if is_dataclass(cls) else list(cls._fields)
    for base in [c for c in reversed(cls.__mro__) if is_dataclass(c)] or [cls]:
        src = source(base.__module__)
        for line in src.node(base).body:
            if not isinstance(line, ast.AnnAssign) or line.target.id not in names: continue
            name, default = line.target.id, src.says(line.value)
            old = out.get(name)
            if default.startswith("field("):
                field = base.__dataclass_fields__[name]
                default = repr(field.default if field.default_factory is MISSING else field.default_factory())
            out[name] = (name, src.says(line.annotation), default, src.comment(line) or (old[3] if old else ""),
                         base is cls and bool(old))
    return [out[name] for name in names if name in out]


def constants(cls):
    "[(name, value, comment), ...] that the body of a class sets beside its fields and methods."
    src = source(cls.__module__)
    pairs = []
    for line in src.node(cls).body:
        if not isinstance(line, ast.Assign): continue
        target, value = line.targets[0], line.value
        both = zip(target.elts, value.elts) if isinstance(target, ast.Tuple) else [(target, value)]
        pairs += [(t.id, src.says(v), src.comment(line)) for t, v in both if not t.id.startswith("_")]
    return pairs


def prose(text):
    "Plain text with `code` as markdown: what would be markup is escaped, names of this library become links."
    parts = re.split(r"(`[^`\n]+`)", text or "")
    parts[::2] = [re.sub(r"([\\*_<$\[\]|~])", r"\\\1", p) for p in parts[::2]]
    return NbdevLookup().linkify("".join(parts)) or ""


def described(fn, *bases):
    "The docstring of a function, or that of the method of this library that it replaces."
    found = [fn, *(bare(vars(b)[fn.__name__]) for b in bases if fn.__name__ in vars(b)
                   and b.__module__.startswith(f"{CFG.lib_name}."))]
    return next((inspect.cleandoc(f.__doc__) for f in found if f and f.__doc__), "")


def anchors(*names): return "".join(f'<span id="{name.lower()}"></span>' for name in names)


def code(text): return f"`{text}`" if text else ""


def row(cells):
    "A row of a markdown table."
    return "| " + " | ".join(re.sub(r"(?<!\\)\|", r"\|", c.replace("\n", " ")) for c in cells) + " |"


def table(head, rows):
    "A markdown table without its empty columns."
    kept = [i for i in range(len(head)) if i == 0 or any(r[i] for r in rows)]
    pick = lambda cells: row([cells[i] for i in kept])
    return "\n".join([pick(head), row(["---"]*len(kept)), *map(pick, rows)]) if rows else ""


def signature(head, rows, end="", room=88):
    "One line where it fits, else a line for each argument."
    args = [name + (f":{kind}" if kind else "") + (f"={default}" if default else "") for name, kind, default, _ in rows]
    line = f"{head}({', '.join(args)}){end}"
    return line if len(line) <= room else f"{head}(\n" + "".join(f"    {a},\n" for a in args) + f"){end}"


def methods(cls):
    "A definition list of the public methods in the body of a class. Those added by `@patch` have blocks of their own."
    said, bare_ones = [], []
    for node in source(cls.__module__).node(cls).body:
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"): continue
        member = vars(cls)[node.name]
        fn = bare(member)
        if not fn: continue
        plain = [(name, "", default, "") for name, _, default, _ in arguments(fn)[0]]
        line = node.name if isinstance(member, property) else signature(node.name, plain, room=999)
        line = f"{anchors(f'{cls.__name__}.{node.name}')}`{line}`"
        doc = " ".join(prose(described(fn, *cls.__mro__)).split())
        if doc: said.append(f"{line}\n: {doc}\n")
        else: bare_ones.append(line)
    return "\n".join(said + ([f"Also {', '.join(bare_ones)}."] if bare_ones else []))


class Block:
    "Heading, signature, what it does, and a table of its parameters or fields, as markdown."
    def __init__(self, sym, name=None, title_level=3):
        self.sym, self.name, self.level = sym if inspect.isclass(sym) else bare(sym), name, title_level

    def function(self):
        rows, (kind, comment) = arguments(self.sym)
        shown = [(code(n), code(k), code(d), prose(c)) for n, k, d, c in rows if n != "*"]
        if comment: shown.append(("*returns*", code(kind), "", prose(comment)))
        if not any(r[3] for r in shown): shown = []
        word = "" if "." in self.name else "def "
        return [f"```python\n{signature(word + self.name, rows, f'->{kind}' if kind else '')}\n```",
                prose(described(self.sym)), table(["name", "type", "default", "meaning"], shown)]

    def cls(self):
        src = source(self.sym.__module__)
        bases = ", ".join(map(src.says, src.node(self.sym).bases))
        top, shown = f"class {self.name}({bases})" if bases else f"class {self.name}", []
        init = bare(vars(self.sym)["__init__"]) if "__init__" in vars(self.sym) else None
        if has_fields(self.sym):
            shown = [(code(n), code(k), f"**{code(d)}**" if new and d else code(d), prose(c))
                     for n, k, d, c, new in data_fields(self.sym)]
            shown += [(code(n), "", code(v), prose(c) or "*of the class*") for n, v, c in constants(self.sym)]
        elif init and init.__module__ == self.sym.__module__:
            rows, _ = arguments(init)
            top += f"\n{signature(self.name, rows)}"
            shown = [(code(n), code(k), code(d), prose(c)) for n, k, d, c in rows if n != "*"]
            if not any(r[3] for r in shown): shown = []
        doc = ast.get_docstring(src.node(self.sym)) # not one that it inherits
        return [f"```python\n{top}\n```", prose(doc),
                table(["field" if has_fields(self.sym) else "name", "type", "default", "meaning"], shown),
                methods(self.sym)]

    def _repr_markdown_(self):
        src = source(self.sym.__module__)
        place = f"{github(src.file.relative_to(ROOT).as_posix())}#L{src.node(self.sym).lineno}"
        parts = self.cls() if inspect.isclass(self.sym) else self.function()
        body = "\n\n".join(p for p in parts if p)
        hidden = [f"{self.name}.{x.name}" for x in src.node(self.sym).body if isinstance(x, ast.FunctionDef)
                  and x.name.startswith("_")] # links may lead there, too
        return (f'{anchors(self.name, *hidden)}\n\n{"#"*self.level} `{self.name}`\n\n'
                f':::::{{container}} api\n<a class="place" href="{place}">source</a>\n\n{body}\n:::::')
