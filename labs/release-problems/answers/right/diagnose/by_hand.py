one = {
    "dependencies": "missing_dependency",
    "migration": "database_migration",
    "unit_tests": "operating_system",
    "rollback": "rollback",
    "sources": "version_skew",
    "quality": "configuration_typo",
}
gate = evidence["gate"]
if gate in one:
    return one[gate]
if gate == "smoke":
    both = evidence["training"].keys() & evidence["service"].keys()
    same = {package for package in both if evidence["training"][package] == evidence["service"][package]}
    return "local_utility" if same == both else "library_version"
if gate == "load":
    killed = [code for code in evidence["exits"] if code == 137]
    if killed:
        return "memory"
    if evidence["p99"] > evidence["limit"]:
        return "too_slow"
return None
