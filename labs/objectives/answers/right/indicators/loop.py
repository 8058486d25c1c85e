valid = available = fast = 0
for event in events:
    if event["status"] >= 500:
        valid += 1
    elif event["status"] < 400:
        valid += 1
        available += 1
        fast += event["seconds"] <= limit
if valid == 0:
    return {"valid": 0, "availability": None, "latency": None}
return {"valid": valid, "availability": available / valid, "latency": fast / valid}
