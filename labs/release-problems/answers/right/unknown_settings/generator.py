def walk(given, known, path):
    for name, value in given.items():
        where = [*path, name]
        if name not in known:
            yield ".".join(where), next(iter(difflib.get_close_matches(name, known, 1)), None)
        elif isinstance(value, dict) and isinstance(known[name], dict):
            yield from walk(value, known[name], where)


nearest = dict(walk(settings, accepted, []))
return [[path, nearest[path]] for path in sorted(nearest)]
