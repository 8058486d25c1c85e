if total == 0:
    return {"allowed": 0.0, "spent": None, "remaining": None, "events_left": 0.0}
account = {}
account["allowed"] = total - target * total
account["events_left"] = account["allowed"] - total + good
account["remaining"] = account["events_left"] / account["allowed"]
account["spent"] = 1 - account["remaining"]
return account
