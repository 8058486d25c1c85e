def walk(table, running, before, number):
    if number == len(steps):
        return None
    step = steps[number]
    kind = step["do"]
    gone = {step["column"]} if kind in ("drop", "rename") else set()
    if not gone <= table:
        return number
    fresh = {"add": {step.get("column")}, "rename": {step.get("to")}}.get(kind, set())
    if fresh & (table - gone):
        return number
    table = (table - gone) | fresh
    if kind == "deploy":
        before, running = running, frozenset(step["needs"])
    return walk(table, running, before, number + 1) if running <= table and before <= table else number


return walk(frozenset(columns), frozenset(needs), frozenset(), 0)
