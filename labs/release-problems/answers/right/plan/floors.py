import numpy as np

parts = np.array([service["base_mb"], service["model_mb"], service["request_mb"]])
peak = float(parts @ np.array([1, 1, service["concurrency"]]))
limit = -int(-(peak + peak * service["headroom"]) // 1)
free = limit - peak
return {
    "peak_mb": peak,
    "limit_mb": limit,
    "replicas": math.floor(machine_mb / limit),
    "hours": None if service["leak_mb"] == 0 else free / service["leak_mb"],
}
