class Imports(ast.NodeVisitor):
    def __init__(self):
        self.names = []

    def visit_Import(self, node):
        for alias in node.names:
            self.names.append(alias.name.partition(".")[0])

    def visit_ImportFrom(self, node):
        if node.level == 0:
            self.names.append(node.module.partition(".")[0])


def normal(name):
    return name.lower().replace("_", "-")


declared = set()
for line in requirements.split("\n"):
    line = line.strip()
    if line and not line.startswith("#"):
        declared.add(normal(line.split()[0].split("==")[0]))
visitor = Imports()
for source in sources.values():
    visitor.visit(ast.parse(source))
found = []
for name in visitor.names:
    if name in sys.stdlib_module_names or name + ".py" in sources or normal(name) in declared or name in found:
        continue
    found.append(name)
found.sort()
return found
