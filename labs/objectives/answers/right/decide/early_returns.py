def ships():
    if change in {"emergency fix", "security"}:
        return True
    if change not in {"feature", "fix", "configuration", "model"}:
        raise ValueError("accepted are: emergency fix, security, feature, fix, configuration, model")
    if remaining is None:
        return False
    return remaining > 0


answer = {"ships": ships(), "postmortems": []}
for name in sorted(incidents):
    if incidents[name] is None or incidents[name] > 1 / 5:
        answer["postmortems"].append(name)
return answer
