"""Puppet finds the same state as Ansible, and the same drift."""

import tarfile

import pytest

from mlops_helpers.deploy import hosts_puppet
from mlops_helpers.deploy.release import Release
from tests.support.machines import converged, versions

pytestmark = pytest.mark.timeout(400)  # Ansible and Puppet take seconds of processor time each


def test_puppet_finds_the_same_state_and_the_same_drift(artifact, monkeypatch, tmp_path_factory, tmp_path):
    with converged(("alpha",), Release("filter", "v1", artifact), tmp_path_factory.mktemp("workspace")) as hosts:
        find_and_repair_drift(hosts, monkeypatch, tmp_path)


def find_and_repair_drift(hosts, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    extract = tarfile.TarFile.extractall
    monkeypatch.setattr(tarfile.TarFile, "extractall", lambda tar, path: extract(tar, path))  # as Python 3.11.2 has it
    assert hosts_puppet.apply(hosts, "alpha", noop=True).changed == {"alpha": []}  # Ansible did it all
    alpha = hosts["alpha"]
    alpha.run(f'sed -i \'s/"v1"/"v0"/\' etc/filter.toml && {alpha.servicectl} apply .')
    alpha.run("chmod 644 etc/token; for file in releases/*/terms.json; do printf x >> $file; done")
    drift = hosts_puppet.apply(hosts, "alpha", noop=True)
    assert sorted(drift.changed["alpha"]) == ["artifact", "configuration", "process", "secret"]
    assert hosts.admin_token not in drift.output
    assert versions(hosts)["alpha"] == "v0"
    assert sorted(hosts_puppet.apply(hosts, "alpha").changed["alpha"]) == sorted(drift.changed["alpha"])
    assert versions(hosts)["alpha"] == "v1"
    assert not list(tmp_path.iterdir())
