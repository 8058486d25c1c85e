def after(table, step):
    """Return the table after a step, or None where the step cannot be done."""
    if step["do"] == "add":
        return None if step["column"] in table else [*table, step["column"]]
    if step["do"] == "drop":
        return [name for name in table if name != step["column"]] if step["column"] in table else None
    if step["do"] == "rename":
        rest = after(table, {"do": "drop", "column": step["column"]})
        return None if rest is None else after(rest, {"do": "add", "column": step["to"]})
    return table


deployed = [[], needs]
table = columns
for number, step in enumerate(steps):
    table = after(table, step)
    if step["do"] == "deploy":
        deployed.append(step["needs"])
    if table is None or any(name not in table for code in deployed[-2:] for name in code):
        return number
