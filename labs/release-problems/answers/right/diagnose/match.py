match evidence["gate"]:
    case None:
        return None
    case "smoke":
        service = evidence["service"]
        for package, version in evidence["training"].items():
            if service.get(package, version) != version:
                return "library_version"
        return "local_utility"
    case "load" if evidence["exits"].count(137) > 0:
        return "memory"
    case "load":
        return "too_slow" if evidence["limit"] < evidence["p99"] else None
    case gate:
        return next((name for name, problem in PROBLEMS.items() if problem.stopped_by == gate), None)
