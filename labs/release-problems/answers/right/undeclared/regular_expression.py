import re

names = set()
for source in sources.values():
    nodes = list(ast.walk(ast.parse(source)))
    names.update(alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names)
    names.update(node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0)
declared = re.findall(r"^\s*([A-Za-z0-9._-]+)\s*==", requirements, re.MULTILINE)
known = {name.lower().replace("-", "_") for name in declared}
needed = {name.split(".")[0] for name in names}
needed -= set(sys.stdlib_module_names) | {Path(file).stem for file in sources}
return sorted(name for name in needed if name.lower().replace("-", "_") not in known)
