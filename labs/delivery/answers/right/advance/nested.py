def advance(plan, seen):
    stages, here = plan["stages"], seen["stage"]
    limit = len(seen["evidence"]) / plan["alpha"]
    verdict, weight = "stay", stages[here]["weight"]
    if not any(one >= limit for one in seen["evidence"]):
        missing = max(stages[here][what] - seen[what] for what in ("comments", "labels"))
        if missing <= 0:
            last = here == len(stages) - 1
            verdict, weight = ("promote", 1.0) if last else ("advance", stages[here + 1]["weight"])
        elif plan["stage_seconds"] < seen["seconds"]:
            verdict, weight = "undecided", 0.0
    else:
        verdict, weight = "abort", 0.0
    return {"weight": weight, "verdict": verdict}
