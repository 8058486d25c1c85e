from mlops_helpers.deploy.noninferiority import compare


def one(wanted):
    rows = [i for i, label in enumerate(labels) if label == wanted]
    gained = len([i for i in rows if champion[i] != wanted and challenger[i] == wanted])
    lost = len([i for i in rows if champion[i] == wanted and challenger[i] != wanted])
    if not rows:
        return {"n": 0, "gained": 0, "lost": 0, "low": None}, False
    compared = compare("class", len(rows), gained, lost)
    return {"n": len(rows), "gained": gained, "lost": lost, "low": compared.low}, compared.not_worse_by(margin)


(spam, spam_fine), (ham, ham_fine) = one(1), one(0)
return {"spam": spam, "ham": ham, "release": spam_fine and ham_fine}
