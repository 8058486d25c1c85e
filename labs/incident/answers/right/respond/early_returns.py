def respond(seen):
    def answer(steps, *words):
        (cause,) = [one for one in seen["causes"] if all(word in one for word in words)]
        return {"diagnosis": cause, "steps": steps}

    below = []
    for name, least in seen["tolerances"].items():
        share = seen["slis"].get(name)
        if share is not None and share < least:
            below.append(name)
    if not below:
        return answer([], "readers")
    down = sorted(name for name in seen["services"] if seen["services"][name] in {"stopped", "failed"})
    if down:
        return answer([{"do": "restart", "name": name} for name in down], "ended", down[0].partition("-")[0])
    if seen["weights"] and any(name != "v1" and share for name, share in seen["weights"].items()):
        return answer([{"do": "roll_back", "to": "v1"}], "release")
    if "spam_held" in below:
        return answer([{"do": "block_campaign"}], "senders")
    return answer([{"do": "repair_network", "wire": "edge"}], "network")
