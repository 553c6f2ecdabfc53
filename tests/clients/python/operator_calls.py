"""Makes every operator call of py-consul, right and refused, and prints what each returns.

../run compares the lines with those in ../expected.

    operator_calls.py OPEN GUARDED

OPEN is the address of a real cluster of three servers without access control. GUARDED is
that of a simulated federation of dc1 and dc2 with the tokens root and viewer.
"""

import re
import sys

import consul
from consul.exceptions import ConsulException

OLD_KEY = "0eK8RjnsGC/+I1fJErQsBA=="
NEW_KEY = "z90lFx3sZZLtTOkutXcwYg=="


def connect(address, **settings):
    host, port = address.split(":")
    return consul.Consul(host=host, port=int(port), **settings).operator


def show(name, call, describe=repr):
    """Makes a call and prints what it returns or raises."""
    print(name)
    try:
        result = call()
    except ConsulException as error:
        # The leader need not be the first server.
        text = re.sub(r"server [0-9]+ leads", "server ID leads", str(error)).replace("\n", "\\n")
        print(f"    {type(error).__name__}: {text}")
    else:
        # A client that got 404 returns None or False.
        print(f"    {result!r}" if result is None else f"    {describe(result)}")


def servers(configuration):
    parts = []
    for server in configuration["Servers"]:
        server_id = "ADDRESS" if server["ID"] == server["Address"] else server["ID"]
        voter = ", voter" if server["Voter"] else ""
        parts.append(f"{server['Node']} (ID {server_id}{voter})")
    leaders = sum(server["Leader"] for server in configuration["Servers"])
    return f"{', '.join(parts)}; leaders: {leaders}"


def rings(answer):
    names = {OLD_KEY: "old", NEW_KEY: "new"}

    def counts(keys):
        return sorted(f"{names.get(key, 'other')} {nodes}" for key, nodes in (keys or {}).items())

    return "; ".join(
        f"{'WAN' if ring['WAN'] else 'LAN'} of {ring['Datacenter']}: {ring['NumNodes']} nodes, "
        f"keys {counts(ring['Keys'])}, primary {counts(ring.get('PrimaryKeys'))}"
        for ring in answer
    )


def settings(configuration):
    return ", ".join(
        f"{name} {value!r}"
        for name, value in configuration.items()
        if name not in ("CreateIndex", "ModifyIndex")
    )


def health(answer):
    parts = ", ".join(
        server["Name"] + (" voter" if server["Voter"] else "") + ("" if server["Healthy"] else " unhealthy")
        for server in answer["Servers"]
    )
    leaders = sum(server["Leader"] for server in answer["Servers"])
    return f"healthy {answer['Healthy']}, tolerance {answer['FailureTolerance']}, {parts}; leaders: {leaders}"


def keyring(operator):
    print("== keyring")
    show("keyring_list", operator.keyring_list, rings)
    for relays in (0, 2, 9):
        show(f"keyring_list relay_factor={relays}", lambda: operator.keyring_list(relay_factor=relays), rings)
    for local in (True, False):
        show(f"keyring_list local_only={local}", lambda: operator.keyring_list(local_only=local), rings)
    show("keyring_install of a malformed key", lambda: operator.keyring_install("not a key"))
    show("keyring_use of a key that is not installed", lambda: operator.keyring_use(NEW_KEY))
    show("keyring_install", lambda: operator.keyring_install(NEW_KEY, relay_factor=1))
    show("keyring_remove of the primary key", lambda: operator.keyring_remove(OLD_KEY))
    show("keyring_list", operator.keyring_list, rings)
    show("keyring_use", lambda: operator.keyring_use(NEW_KEY, relay_factor=1))
    show("keyring_remove", lambda: operator.keyring_remove(OLD_KEY, relay_factor=1))
    show("keyring_list", operator.keyring_list, rings)


def autopilot(operator):
    print("== autopilot")
    for datacenter in (None, "dc1", "dc9"):
        call = lambda: operator.autopilot_configuration(dc=datacenter)
        show(f"autopilot_configuration dc={datacenter}", call, settings)
    update = operator.update_autopilot_configuration
    show("update_autopilot_configuration of a flag", lambda: update(cleanup_dead_servers=True))
    show("update_autopilot_configuration of a malformed time", lambda: update(last_contact_threshold="soon"))
    show("update_autopilot_configuration of an old index", lambda: update(last_contact_threshold="2s", cas=99))
    kept = {"disable_upgrade_migration": True, "last_contact_threshold": "3s", "max_trailing_logs": 250}
    show("update_autopilot_configuration", lambda: update(dc="dc1", **kept))
    show("autopilot_configuration", operator.autopilot_configuration, settings)

    def with_current_index():
        current = operator.autopilot_configuration() or {}
        return update(cas=current.get("ModifyIndex"), **kept)

    show("update_autopilot_configuration of the current index", with_current_index)
    show("autopilot_health", operator.autopilot_health, health)
    show("usage", operator.usage)


def raft(operator):
    print("== Raft")
    show("raft_config", operator.raft_config, servers)
    before = operator.raft_config()["Servers"]
    leader = next(server for server in before if server["Leader"])
    followers = [server for server in before if not server["Leader"]]
    remove = operator.raft_remove_peer
    show("raft_remove_peer without a server", remove)
    show("raft_remove_peer with two selectors", lambda: remove("127.0.0.1:1", "no-such-id"))
    show("raft_remove_peer of an unknown address", lambda: remove(address="127.0.0.1:1"))
    show("raft_remove_peer of an unknown ID", lambda: remove(peer_id="no-such-id"))
    show("raft_transfer_leader to an unknown server", lambda: operator.raft_transfer_leader("no-such-id"))
    show("raft_transfer_leader to the leader itself", lambda: operator.raft_transfer_leader(leader["ID"]))
    show("raft_transfer_leader to a follower", lambda: operator.raft_transfer_leader(followers[0]["ID"]))
    show("raft_transfer_leader to any server", operator.raft_transfer_leader)
    show("raft_config", operator.raft_config, servers)

    now = operator.raft_config()["Servers"]
    followers = [server for server in now if not server["Leader"]]
    show("raft_remove_peer of an address", lambda: remove(address=followers[0]["Address"]))
    show("raft_remove_peer of an ID", lambda: remove(peer_id=followers[1]["ID"]))
    # Which servers are left depends on who led.
    show("raft_config", operator.raft_config, lambda answer: f"servers left: {len(answer['Servers'])}")


def guarded(address):
    print("== tokens and datacenters")
    operator = connect(address)
    show("raft_config", operator.raft_config, servers)
    for token in (None, "viewer", "unknown", "root"):
        def call(name, method, *arguments, describe=repr, **named):
            show(f"{name} token={token}", lambda: method(*arguments, token=token, **named), describe)

        call("raft_transfer_leader", operator.raft_transfer_leader, "no-such-id")
        call("raft_remove_peer", operator.raft_remove_peer, "127.0.0.1:1")
        call("keyring_list", operator.keyring_list, describe=rings)
        call("keyring_install", operator.keyring_install, NEW_KEY)
        call("autopilot_configuration", operator.autopilot_configuration, describe=settings)
        call("autopilot_health", operator.autopilot_health, describe=health)
        call("update_autopilot_configuration", operator.update_autopilot_configuration, cas=99)
    for datacenter in ("dc1", "dc2", "dc9"):
        operator = connect(address, token="root", dc=datacenter)
        show(f"autopilot_configuration of a client in {datacenter}", operator.autopilot_configuration, settings)
        show(f"autopilot_health of a client in {datacenter}", operator.autopilot_health, health)
    # It sends no token of its own, and so not that of the client either.
    show("raft_config of a client with the token root", operator.raft_config, servers)


def main():
    opened = connect(sys.argv[1])
    keyring(opened)
    autopilot(opened)
    raft(opened)
    guarded(sys.argv[2])


if __name__ == "__main__":
    main()
