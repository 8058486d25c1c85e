found, waiting = [], [("", settings, accepted)]
while waiting:
    prefix, given, known = waiting.pop()
    for name in given:
        if name in known:
            if type(given[name]) is dict and type(known[name]) is dict:
                waiting.append((prefix + name + ".", given[name], known[name]))
        else:
            matches = difflib.get_close_matches(name, known.keys(), n=1)
            found.append((prefix + name, *(matches or [None])))
found.sort(key=lambda pair: pair[0])
return found
