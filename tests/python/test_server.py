"""The daemon, started by Python: as a command, and as a child of this process."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

import infinistore
from conftest import free_ports, wait_for
from infinistore.daemon import daemon_path


def test_module_server__becomes_the_daemon_with_its_options(tmp_path):
    ports = tmp_path / "ports"
    options = ["--host=127.0.0.1", "--service-port=0", "--manage-port=0", "--prealloc-size=64M", "--log-level=error"]
    process = subprocess.Popen([sys.executable, "-m", "infinistore.server", *options, f"--port-file={ports}"])
    try:
        wait_for(lambda: ports.exists() or process.poll() is not None)
        places = dict(line.split() for line in ports.read_text().splitlines())
        host, port = places["service"].split(":")
        config = infinistore.ClientConfig(host_addr=host, service_port=int(port), connection_type="TCP")
        with infinistore.InfinityConnection(config) as connection:
            assert connection.put_batch(["k"], [b"v"]) == [infinistore.Status.OK]
        assert os.readlink(f"/proc/{process.pid}/exe") == os.path.realpath(daemon_path())
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_module_server__wrong_option__ends_as_the_daemon_does():
    command = [sys.executable, "-m", "infinistore.server", "--prealloc-size=lots"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode != 0 and "prealloc-size" in done.stderr


def test_module_server__no_daemon__says_so(tmp_path):
    environment = {**os.environ, "INFINISTORE_DAEMON": str(tmp_path / "nothing")}
    command = [sys.executable, "-m", "infinistore.server"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment)
    assert done.returncode == 1 and "nothing" in done.stderr


def test_server_functions__without_a_server_of_this_process__raise():
    for call in (infinistore.get_kvmap_len, infinistore.purge_kv_map, lambda: infinistore.evict_cache(0.1, 0.5)):
        with pytest.raises(infinistore.InfiniStoreException, match="no server"):
            call()


@pytest.mark.parametrize("thresholds", [(0.5, 0.5), (0.6, 0.5), (-0.1, 0.5), (0.5, 1.1)])
def test_evict_cache__thresholds_that_make_no_sense__raise(thresholds):
    with pytest.raises(Exception, match="threshold"):
        infinistore.evict_cache(*thresholds)


SCRIPT = """
import infinistore, sys

service, manage = int(sys.argv[1]), int(sys.argv[2])
infinistore.register_server(None, infinistore.ServerConfig(
    service_port=service, manage_port=manage, host="127.0.0.1", prealloc_size="64M", minimal_allocate_size=16,
    log_level="error"))
config = infinistore.ClientConfig(host_addr="127.0.0.1", service_port=service, connection_type="TCP")
connection = infinistore.InfinityConnection(config)
connection.connect()
connection.put_batch([f"k{i}" for i in range(40)], [bytes(1 << 20)] * 40)
assert infinistore.get_kvmap_len() == 40
infinistore.evict_cache(0.2, 0.9)
assert infinistore.get_kvmap_len() == 40  # not that full
infinistore.evict_cache(0.25, 0.5)
assert 12 <= infinistore.get_kvmap_len() <= 16, infinistore.get_kvmap_len()
infinistore.purge_kv_map()
assert infinistore.get_kvmap_len() == 0
try:
    infinistore.register_server(None, infinistore.ServerConfig(service_port=service, manage_port=manage))
except infinistore.InfiniStoreException as error:
    print("refused:", error)
"""


def test_register_server__serves_until_the_process_ends():
    service, manage = free_ports(2)
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(service), str(manage)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "refused: Failed to register server" in done.stdout
    config = infinistore.ClientConfig(host_addr="127.0.0.1", service_port=service, connection_type="TCP")
    with pytest.raises(infinistore.InfiniStoreException):
        infinistore.InfinityConnection(config).connect()
