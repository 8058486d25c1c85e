def pick(comment_id, weights):
    key = comment_id.encode()
    waits = {version: -math.log(point(version.encode(), key)) / share for version, share in weights.items() if share}
    return min(waits, key=waits.get)


def classified(body):
    return ask(versions[pick(body["id"], dict(weights))], "/v1/classify", body)


def weighted(body):
    if not all(0 <= share <= 1 for share in body.values()) or round(sum(body.values()), 6) != 1:
        return 400, {"error": f"found {body}; accepted: shares that add up to 1"}
    for version, share in body.items():
        weights[version] = share
    return 200, dict(weights)


def gateway(path, body):
    answer = {"/v1/classify": classified, "/admin/weights": weighted}.get(path)
    return answer(body) if answer else (404, {"error": "no such path"})
