def run_gates(stages):
    says = {stage["name"]: stage["says"] for stage in stages}
    done, stopped = [], None
    while len(done) < len(stages):
        candidates = [s["name"] for s in stages if s["name"] not in done and not set(s["needs"]) - set(done)]
        if not candidates:
            stopped = next(s["name"] for s in stages if s["name"] not in done)
            break
        done.append(candidates[0])
        if says[candidates[0]] != "passed":
            stopped = candidates[0]
            break
    return {"ran": done, "stopped_by": stopped, "deploys": bool(stages) and stopped is None}
