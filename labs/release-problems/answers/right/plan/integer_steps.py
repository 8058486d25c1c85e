needed = sum([service["base_mb"], service["model_mb"], service["request_mb"] * service["concurrency"]])
limit = int(needed)
while limit < needed + needed * service["headroom"]:
    limit += 1
fitting = 0
while (fitting + 1) * limit <= machine_mb:
    fitting += 1
answer = dict(peak_mb=needed, limit_mb=limit, replicas=fitting, hours=None)
if service["leak_mb"] > 0:
    answer["hours"] = (limit - needed) / service["leak_mb"]
return answer
