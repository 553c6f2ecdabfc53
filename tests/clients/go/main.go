// Makes every operator call of Consul's Go SDK, right and refused, and prints what each
// returns. ../run compares the lines with those in ../expected.
//
//	operator-calls OPEN GUARDED
//
// OPEN is the address of a real cluster of three servers without access control. GUARDED
// is that of a simulated federation of dc1 and dc2 with the tokens root and viewer.
package main

import (
	"fmt"
	"os"
	"regexp"
	"sort"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	oldKey = "0eK8RjnsGC/+I1fJErQsBA=="
	newKey = "z90lFx3sZZLtTOkutXcwYg=="
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "use: operator-calls OPEN GUARDED")
		os.Exit(2)
	}
	open := connect(os.Args[1], "")
	raft(open)
	keyring(open)
	autopilot(open)
	refusedRemoval(open)
	transfer(open)
	removal(open)
	guarded(os.Args[2])
}

func connect(address, token string) *api.Operator {
	client, err := api.NewClient(&api.Config{Address: address, Token: token})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return client.Operator()
}

func raft(operator *api.Operator) {
	section("Raft configuration")
	for _, query := range queries() {
		configuration, err := operator.RaftGetConfiguration(query.options)
		show("RaftGetConfiguration "+query.name, servers(configuration), err)
	}
}

func transfer(operator *api.Operator) {
	section("leadership transfer")
	leader, others := roles(operator)
	for _, target := range []struct{ name, id string }{
		{"to an unknown server", "no-such-id"},
		{"to the leader itself", leader.ID},
		{"to a follower", others[0].ID},
		{"to any server", ""},
	} {
		answer, err := operator.RaftLeaderTransfer(target.id, nil)
		show("RaftLeaderTransfer "+target.name, success(answer), err)
	}
	configuration, err := operator.RaftGetConfiguration(nil)
	show("RaftGetConfiguration", servers(configuration), err)
}

func refusedRemoval(operator *api.Operator) {
	section("Raft peers, refused")
	err := operator.RaftRemovePeerByAddress("127.0.0.1:1", nil)
	show("RaftRemovePeerByAddress of an unknown server", "", err)
	err = operator.RaftRemovePeerByID("no-such-id", nil)
	show("RaftRemovePeerByID of an unknown server", "", err)
	err = operator.RaftRemovePeerByAddress("127.0.0.1:1", &api.WriteOptions{Datacenter: "dc9"})
	show("RaftRemovePeerByAddress Datacenter dc9", "", err)
}

func removal(operator *api.Operator) {
	section("Raft peers")
	_, others := roles(operator)
	err := operator.RaftRemovePeerByID(others[0].ID, nil)
	show("RaftRemovePeerByID of a follower", "", err)
	if err != nil {
		err = operator.RaftRemovePeerByAddress(others[0].Address, &api.WriteOptions{Datacenter: "dc1"})
		show("RaftRemovePeerByAddress of a follower", "", err)
	}
	err = operator.RaftRemovePeerByAddress(others[1].Address, &api.WriteOptions{Datacenter: "dc1"})
	show("RaftRemovePeerByAddress of the last follower", "", err)
	left, err := operator.RaftGetConfiguration(nil)
	if err == nil {
		// Which one depends on who led.
		show("RaftGetConfiguration", fmt.Sprintf("%d server is left", len(left.Servers)), nil)
	} else {
		show("RaftGetConfiguration", "", err)
	}
}

func keyring(operator *api.Operator) {
	section("keyring")
	relayed := &api.WriteOptions{RelayFactor: 1}
	for _, query := range append(queries(),
		named("RelayFactor 2", &api.QueryOptions{RelayFactor: 2}),
		named("RelayFactor 9", &api.QueryOptions{RelayFactor: 9}),
		named("LocalOnly", &api.QueryOptions{LocalOnly: true}),
	) {
		list, err := operator.KeyringList(query.options)
		show("KeyringList "+query.name, rings(list), err)
	}
	err := operator.KeyringInstall("not a key", nil)
	show("KeyringInstall of a malformed key", "", err)
	err = operator.KeyringUse(newKey, nil)
	show("KeyringUse of a key that is not installed", "", err)
	err = operator.KeyringInstall(newKey, &api.WriteOptions{RelayFactor: 9})
	show("KeyringInstall with RelayFactor 9", "", err)
	err = operator.KeyringInstall(newKey, relayed)
	show("KeyringInstall", "", err)
	err = operator.KeyringRemove(oldKey, nil)
	show("KeyringRemove of the primary key", "", err)
	list, err := operator.KeyringList(nil)
	show("KeyringList", rings(list), err)
	err = operator.KeyringUse(newKey, relayed)
	show("KeyringUse", "", err)
	err = operator.KeyringRemove(oldKey, relayed)
	show("KeyringRemove", "", err)
	list, err = operator.KeyringList(nil)
	show("KeyringList", rings(list), err)
}

func autopilot(operator *api.Operator) {
	section("autopilot")
	for _, query := range queries() {
		configuration, err := operator.AutopilotGetConfiguration(query.options)
		show("AutopilotGetConfiguration "+query.name, settings(configuration), err)
	}
	consul := api.NewAutopilotConfiguration()
	err := operator.AutopilotSetConfiguration(&consul, nil)
	show("AutopilotSetConfiguration to Consul's defaults", "", err)

	configuration, err := operator.AutopilotGetConfiguration(nil)
	if err == nil {
		configuration.LastContactThreshold = api.NewReadableDuration(3 * time.Second)
		err = operator.AutopilotSetConfiguration(configuration, &api.WriteOptions{Datacenter: "dc1"})
		show("AutopilotSetConfiguration of a threshold", "", err)
		changed, err := operator.AutopilotCASConfiguration(configuration, nil)
		show("AutopilotCASConfiguration with an old index", fmt.Sprint(changed), err)
		configuration, err = operator.AutopilotGetConfiguration(nil)
		show("AutopilotGetConfiguration", settings(configuration), err)
		configuration.MaxTrailingLogs = 500
		changed, err = operator.AutopilotCASConfiguration(configuration, nil)
		show("AutopilotCASConfiguration", fmt.Sprint(changed), err)
	}
	health, err := operator.AutopilotServerHealth(nil)
	show("AutopilotServerHealth", healthOf(health), err)
	state, err := operator.AutopilotState(nil)
	show("AutopilotState", stateOf(state), err)
}

// guarded makes reads and writes with the tokens of a federation of two datacenters.
func guarded(address string) {
	section("tokens and datacenters")
	operator := connect(address, "")
	for _, token := range []string{"", "viewer", "unknown", "root"} {
		with := "with the token " + token
		if token == "" {
			with = "without a token"
		}
		query, write := &api.QueryOptions{Token: token}, &api.WriteOptions{Token: token}
		configuration, err := operator.RaftGetConfiguration(query)
		show("RaftGetConfiguration "+with, servers(configuration), err)
		answer, err := operator.RaftLeaderTransfer("no-such-id", query)
		show("RaftLeaderTransfer "+with, success(answer), err)
		err = operator.RaftRemovePeerByAddress("127.0.0.1:1", write)
		show("RaftRemovePeerByAddress "+with, "", err)
		list, err := operator.KeyringList(query)
		show("KeyringList "+with, rings(list), err)
		err = operator.KeyringInstall(newKey, write)
		show("KeyringInstall "+with, "", err)
		settingsNow, err := operator.AutopilotGetConfiguration(query)
		show("AutopilotGetConfiguration "+with, settings(settingsNow), err)
		consul := api.NewAutopilotConfiguration()
		err = operator.AutopilotSetConfiguration(&consul, write)
		show("AutopilotSetConfiguration "+with, "", err)
		health, err := operator.AutopilotServerHealth(query)
		show("AutopilotServerHealth "+with, healthOf(health), err)
	}
	// The token of the client is that of all calls without one.
	operator = connect(address, "root")
	for _, datacenter := range []string{"dc1", "dc2", "dc9"} {
		in := "in " + datacenter
		query, write := &api.QueryOptions{Datacenter: datacenter}, &api.WriteOptions{Datacenter: datacenter}
		configuration, err := operator.RaftGetConfiguration(query)
		show("RaftGetConfiguration "+in, servers(configuration), err)
		err = operator.RaftRemovePeerByAddress("127.0.0.1:1", write)
		show("RaftRemovePeerByAddress "+in, "", err)
		health, err := operator.AutopilotServerHealth(query)
		show("AutopilotServerHealth "+in, healthOf(health), err)
	}
	for _, query := range queries() {
		health, err := operator.AutopilotServerHealth(query.options)
		show("AutopilotServerHealth "+query.name, healthOf(health), err)
		state, err := operator.AutopilotState(query.options)
		show("AutopilotState "+query.name, stateOf(state), err)
	}
	list, err := operator.KeyringList(&api.QueryOptions{LocalOnly: true})
	show("KeyringList LocalOnly", rings(list), err)
}

type query struct {
	name    string
	options *api.QueryOptions
}

func named(name string, options *api.QueryOptions) query {
	return query{name, options}
}

func queries() []query {
	return []query{
		named("", nil),
		named("AllowStale", &api.QueryOptions{AllowStale: true}),
		named("RequireConsistent", &api.QueryOptions{RequireConsistent: true}),
		named("AllowStale and RequireConsistent", &api.QueryOptions{AllowStale: true, RequireConsistent: true}),
		named("Datacenter dc1", &api.QueryOptions{Datacenter: "dc1"}),
		named("Datacenter dc9", &api.QueryOptions{Datacenter: "dc9"}),
	}
}

// roles returns the leader and the others.
func roles(operator *api.Operator) (leader *api.RaftServer, others []*api.RaftServer) {
	configuration, err := operator.RaftGetConfiguration(nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, "no leader:", err)
		os.Exit(1)
	}
	for _, server := range configuration.Servers {
		if server.Leader {
			leader = server
		} else {
			others = append(others, server)
		}
	}
	if leader == nil || len(others) != 2 {
		fmt.Fprintln(os.Stderr, "not a leader and two others:", servers(configuration))
		os.Exit(1)
	}
	return leader, others
}

// leads finds the ID in a text about the leader, which need not be the first server.
var leads = regexp.MustCompile(`server [0-9]+ leads`)

func section(name string) {
	fmt.Printf("== %s\n", name)
}

func show(call, result string, err error) {
	call = strings.TrimSpace(call)
	if err != nil {
		text := leads.ReplaceAllString(err.Error(), "server ID leads")
		text = strings.ReplaceAll(text, "\n", "\\n")
		fmt.Printf("%s\n    error: %s\n", call, text)
	} else if result == "" {
		fmt.Printf("%s\n    done\n", call)
	} else {
		fmt.Printf("%s\n    %s\n", call, result)
	}
}

func servers(configuration *api.RaftConfiguration) string {
	if configuration == nil {
		return ""
	}
	var parts []string
	leaders := 0
	for _, server := range configuration.Servers {
		id := server.ID
		if id == server.Address {
			id = "ADDRESS"
		}
		part := fmt.Sprintf("%s (ID %s, protocol %q", server.Node, id, server.ProtocolVersion)
		if server.Voter {
			part += ", voter"
		}
		if server.Leader {
			leaders++
		}
		parts = append(parts, part+")")
	}
	return fmt.Sprintf("%s; leaders: %d", strings.Join(parts, ", "), leaders)
}

func success(answer *api.TransferLeaderResponse) string {
	if answer == nil {
		return ""
	}
	return fmt.Sprintf("success: %v", answer.Success)
}

func rings(list []*api.KeyringResponse) string {
	var parts []string
	for _, ring := range list {
		pool := "LAN"
		if ring.WAN {
			pool = "WAN"
		}
		parts = append(parts, fmt.Sprintf("%s of %s: %d nodes, keys %s, primary %s, messages %d",
			pool, ring.Datacenter, ring.NumNodes, counts(ring.Keys), counts(ring.PrimaryKeys), len(ring.Messages)))
	}
	return strings.Join(parts, "; ")
}

func counts(keys map[string]int) string {
	var parts []string
	for key, nodes := range keys {
		name := "other"
		switch key {
		case oldKey:
			name = "old"
		case newKey:
			name = "new"
		}
		parts = append(parts, fmt.Sprintf("%s %d", name, nodes))
	}
	sort.Strings(parts)
	return "[" + strings.Join(parts, ", ") + "]"
}

func settings(configuration *api.AutopilotConfiguration) string {
	if configuration == nil {
		return ""
	}
	c := configuration
	return fmt.Sprintf("cleanup %v, contact %s, trailing %d, quorum %d, stabilization %s, no migration %v, changed %v",
		c.CleanupDeadServers, c.LastContactThreshold, c.MaxTrailingLogs, c.MinQuorum,
		c.ServerStabilizationTime, c.DisableUpgradeMigration, c.ModifyIndex > 0)
}

func healthOf(reply *api.OperatorHealthReply) string {
	if reply == nil {
		return ""
	}
	var parts []string
	leaders := 0
	for _, server := range reply.Servers {
		part := server.Name
		if server.Voter {
			part += " voter"
		}
		if !server.Healthy {
			part += " unhealthy"
		}
		if server.Leader {
			leaders++
		}
		parts = append(parts, part)
	}
	return fmt.Sprintf("healthy %v, tolerance %d, %s; leaders: %d",
		reply.Healthy, reply.FailureTolerance, strings.Join(parts, ", "), leaders)
}

func stateOf(state *api.AutopilotState) string {
	if state == nil {
		return ""
	}
	var parts []string
	leaders := 0
	for id, server := range state.Servers {
		parts = append(parts, fmt.Sprintf("%s (ID %s, %s)", server.Name, id, server.NodeType))
		if server.Status == api.AutopilotServerLeader && id == state.Leader {
			leaders++
		}
	}
	sort.Strings(parts)
	return fmt.Sprintf("healthy %v, tolerance %d, %d voters, %s; leaders: %d",
		state.Healthy, state.FailureTolerance, len(state.Voters), strings.Join(parts, ", "), leaders)
}
