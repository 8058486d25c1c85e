def advance(plan, seen):
    number, tests = seen["stage"], seen["evidence"]
    weights = [stage["weight"] for stage in plan["stages"]] + [1.0]
    stage = plan["stages"][number]
    enough = all(seen[what] >= stage[what] for what in ("comments", "labels"))
    rules = [
        (any(one * plan["alpha"] >= len(tests) for one in tests), "abort", 0.0),
        (enough and number == len(plan["stages"]) - 1, "promote", 1.0),
        (enough, "advance", weights[number + 1]),
        (seen["seconds"] > plan["stage_seconds"], "undecided", 0.0),
        (True, "stay", weights[number]),
    ]
    return next({"verdict": verdict, "weight": weight} for fits, verdict, weight in rules if fits)
