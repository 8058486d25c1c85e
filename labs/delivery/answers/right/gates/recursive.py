def run_gates(stages):
    def go(ran, waiting):
        for stage in waiting:
            if all(need in ran for need in stage["needs"]):
                now = [*ran, stage["name"]]
                if stage["says"] != "passed":
                    return now, stage["name"]
                return go(now, [other for other in waiting if other is not stage])
        return ran, waiting[0]["name"] if waiting else None

    ran, stopped = go([], stages)
    return {"ran": ran, "stopped_by": stopped, "deploys": len(ran) > 0 and stopped is None}
