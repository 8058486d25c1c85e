def pick(comment_id, weights):
    best, winner = -1.0, None
    for version, weight in weights.items():
        drawn = point(version.encode("utf-8"), comment_id.encode("utf-8"))
        if weight > 0 and weight / -math.log(drawn) > best:
            best, winner = weight / -math.log(drawn), version
    return winner


def gateway(path, body):
    global weights
    if path == "/admin/weights":
        if any(share < 0 for share in body.values()) or not math.isclose(math.fsum(body.values()), 1, abs_tol=1e-6):
            return 400, {}
        weights = dict(body)
        return 200, weights
    if path == "/v1/classify":
        status, said = ask(versions[pick(body["id"], weights)], "/v1/classify", body)
        return status, said
    return 404, {"error": "no such path"}
