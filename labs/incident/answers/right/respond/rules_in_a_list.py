def is_low(seen, name):
    share = seen["slis"].get(name)
    return name in seen["tolerances"] and share is not None and seen["tolerances"][name] > share


def respond(seen):
    states, weights = seen["services"], seen["weights"] or {"v1": 1.0}
    down = [name for name in sorted(states) if states[name] == "stopped" or states[name] == "failed"]
    restarts = [{"do": "restart", "name": name} for name in down]
    rules = [
        (not any(is_low(seen, name) for name in seen["slis"]), [], {"readers"}),
        (len(down) > 0, restarts, {"ended", *[name.split("-")[0] for name in down[:1]]}),
        (sum(share for name, share in weights.items() if name != "v1") > 0, [{"do": "roll_back", "to": "v1"}], {"release"}),
        (is_low(seen, "spam_held"), [{"do": "block_campaign"}], {"senders"}),
        (True, [{"do": "repair_network", "wire": "edge"}], {"network"}),
    ]
    steps, words = next((steps, words) for fits, steps, words in rules if fits)
    return {"steps": steps, "diagnosis": [c for c in seen["causes"] if sum(w in c for w in words) == len(words)][0]}
