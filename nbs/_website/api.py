"What the website says of a function, a class or a method: `show_doc` with a renderer of our own."
import ast
import inspect
import re
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from textwrap import dedent

from fastcore.docments import ShowDocRenderer, docments
from nbdev.doclinks import NbdevLookup

from pages import CFG, ROOT, github


def tree_of(obj):
    "The definition of a function or class as a syntax tree, and its text."
    text = dedent(inspect.getsource(obj))
    return ast.parse(text).body[0], text


def prose(text):
    "Plain text with `code` as markdown: what would be markup is escaped, names of this library become links."
    parts = re.split(r"(`[^`\n]+`)", text or "")
    parts[::2] = [re.sub(r"([\\*_<$\[\]|~])", r"\\\1", p) for p in parts[::2]]
    return NbdevLookup().linkify("".join(parts)) or ""


def code(text): return f"`{text}`" if text else ""


def row(cells):
    "A row of a markdown table."
    return "| " + " | ".join(re.sub(r"(?<!\\)\|", r"\|", c.replace("\n", " ")) for c in cells) + " |"


def table(head, rows):
    "A markdown table without its empty columns."
    kept = [i for i in range(len(head)) if i == 0 or any(r[i] for r in rows)]
    pick = lambda cells: row([cells[i] for i in kept])
    return "\n".join([pick(head), row(["---"]*len(kept)), *map(pick, rows)]) if rows else ""


def arguments(fn):
    "[(name, type, default, comment), ...] of a function as its source says it, and (type, comment) of what it returns."
    node, text = tree_of(fn)
    says = lambda part: ast.get_source_segment(text, part) if part else ""
    doc, a = docments(fn, args_kwargs=True), node.args
    args = [*a.posonlyargs, *a.args]
    defaults = [None]*(len(args) - len(a.defaults)) + a.defaults
    out = [(x.arg, x, d) for x, d in zip(args, defaults)]
    if a.vararg: out.append((f"*{a.vararg.arg}", a.vararg, None))
    elif a.kwonlyargs: out.append(("*", None, None))
    out += [(x.arg, x, d) for x, d in zip(a.kwonlyargs, a.kw_defaults)]
    if a.kwarg: out.append((f"**{a.kwarg.arg}", a.kwarg, None))
    rows = [(name, says(x and x.annotation), says(d), doc.get(name.strip("*")) or "") for name, x, d in out]
    if rows and rows[0][0] in ("self", "cls"): rows = rows[1:]
    return rows, (says(node.returns), doc.get("return") or "")


def data_fields(cls):
    """[(name, type, default, comment), ...] of a dataclass. A field that a subclass repeats keeps the comment of the
    class that it inherits from; its default is bold, because that is what the subclass is for."""
    out, order = {}, {f.name: f for f in fields(cls)}
    for base in [c for c in reversed(cls.__mro__) if is_dataclass(c)]:
        node, text = tree_of(base)
        comments = docments(base)
        for line in [x for x in node.body if isinstance(x, ast.AnnAssign) and x.target.id in order]:
            name, old = line.target.id, out.get(line.target.id)
            default = ast.get_source_segment(text, line.value) if line.value else ""
            if default.startswith("field("):
                f = base.__dataclass_fields__[name]
                default = repr(f.default_factory()) if f.default_factory is not MISSING else repr(f.default)
            comment = comments.get(name) or (old[3] if old else "")
            out[name] = (name, ast.get_source_segment(text, line.annotation), default, comment, base is cls and bool(old))
    return [out[name] for name in order if name in out]


def constants(cls):
    "[(name, value, comment), ...] that the body of a class sets beside its fields and methods."
    node, text = tree_of(cls)
    return [(x.targets[0].id, ast.get_source_segment(text, x.value)) for x in node.body if isinstance(x, ast.Assign)
            and isinstance(x.targets[0], ast.Name) and not x.targets[0].id.startswith("_")]


def signature(head, rows, end=""):
    "One line where it fits, else a line for each argument."
    args = [name + (f":{kind}" if kind else "") + (f"={default}" if default else "") for name, kind, default, _ in rows]
    line = f"{head}({', '.join(args)}){end}"
    if len(line) <= 88: return line
    return f"{head}(\n" + "".join(f"    {a},\n" for a in args) + f"){end}"


def bare(member):
    "The function behind a method, a property or something wrapped; None for what is none."
    member = getattr(member, "__func__", member) # of a class method, a static one, or one that is bound
    if isinstance(member, property): member = member.fget
    member = inspect.unwrap(getattr(member, "func", member)) # functools.cached_property keeps it in `func`
    return member if inspect.isfunction(member) else None


def methods(cls):
    "A definition list of the public methods that stand in the body of a class; those added by `@patch` have blocks of their own."
    out = []
    for node in tree_of(cls)[0].body:
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"): continue
        member = vars(cls)[node.name]
        fn = bare(member)
        if not fn: continue
        rows, (kind, _) = arguments(fn)
        plain = [(name, "", default, "") for name, _, default, _ in rows]
        line = node.name if isinstance(member, property) else signature(node.name, plain).replace("\n", " ")
        anchor = f'<span id="{cls.__name__}.{node.name}"></span>'.lower()
        says = " ".join(prose(inspect.getdoc(fn)).split()) or "(no description)"
        out.append(f"{anchor}`{line}`\n: {says}\n")
    return "\n".join(out)


class Block(ShowDocRenderer):
    "Heading, signature, what it does, and a table of its parameters or fields, as markdown."
    def __init__(self, sym, name=None, title_level=3):
        super().__init__(sym, name=name, title_level=title_level)
        self.fn = self.sym if inspect.isclass(self.sym) else bare(self.sym)

    def place(self):
        "The link to the definition in the repository."
        file = Path(inspect.getsourcefile(self.fn))
        return f"{github(f'{CFG.lib_path.name}/{file.relative_to(CFG.lib_path).as_posix()}')}#L{inspect.getsourcelines(self.fn)[1]}"

    def parts(self):
        "Signature, then everything below it."
        sym, head = self.fn, ["name", "type", "default", "meaning"]
        if not inspect.isclass(sym):
            rows, (kind, comment) = arguments(sym)
            shown = [(code(n), code(k), code(d), prose(c)) for n, k, d, c in rows if n != "*"]
            if comment: shown.append(("*returns*", code(kind), "", prose(comment)))
            has = any(c for *_, c in rows) or comment
            return [f"```python\n{signature(f'def {self.nm}', rows, f'->{kind}' if kind else '')}\n```", prose(self.docs),
                    table(head, shown) if has else ""]
        bases = ", ".join(ast.unparse(b) for b in tree_of(sym)[0].bases)
        top = f"class {self.nm}({bases})" if bases else f"class {self.nm}"
        if is_dataclass(sym):
            rows = [(code(n), code(k), f"**{code(d)}**" if new and d else code(d), prose(c))
                    for n, k, d, c, new in data_fields(sym)]
            own = [(code(n), "", code(v), "set by the class") for n, v in constants(sym)]
            return [f"```python\n{top}\n```", prose(self.docs), table(["field", *head[1:]], rows + own), methods(sym)]
        rows = []
        init = vars(sym).get("__init__")
        if init and inspect.isfunction(init):
            rows, _ = arguments(init)
            top += "\n" + signature(self.nm, rows)
        shown = [(code(n), code(k), code(d), prose(c)) for n, k, d, c in rows if n != "*"]
        has = any(c for *_, c in rows)
        return [f"```python\n{top}\n```", prose(self.docs), table(head, shown) if has else "", methods(sym)]

    def _repr_markdown_(self):
        top = (f'<span id="{self.nm.lower()}"></span>\n\n{"#"*self.title_level} `{self.nm}`\n\n'
               f':::::{{container}} api\n<a class="place" href="{self.place()}">source</a>\n\n')
        return top + "\n\n".join(p for p in self.parts() if p) + "\n:::::"
