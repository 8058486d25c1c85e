"""Alert -> diagnosis -> mitigation -> record: faults, drills, runbooks, postmortems."""
