package main

import (
	"fmt"
	"strconv"
	"strings"

	"fwprov/provision"
	"fwprov/steps"
)

// metrics collects figures in the text exposition format of Prometheus: those of one
// name together, after its help and type.
type metrics struct{ b strings.Builder }

type label struct{ name, value string }

// family begins the figures of a name.
func (m *metrics) family(name, kind, help string) func(value float64, labels ...label) {
	fmt.Fprintf(&m.b, "# HELP %s %s\n# TYPE %s %s\n", name, strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(help), name, kind)
	return func(value float64, labels ...label) {
		var pairs []string
		for _, l := range labels {
			pairs = append(pairs, l.name+`="`+strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(provision.Printable(l.value))+`"`)
		}
		fmt.Fprintf(&m.b, "%s{%s} %s\n", name, strings.Join(pairs, ","), strconv.FormatFloat(value, 'g', -1, 64))
	}
}

func is(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// prometheus writes a status for node_exporter's textfile collector.
func prometheus(st steps.Status) string {
	var m metrics
	cluster := label{"cluster", st.Cluster}
	node := func(n steps.NodeStatus) label { return label{"node", n.Name} }
	answering := func(do func(n steps.NodeStatus)) {
		for _, n := range st.Nodes {
			if n.Error == "" {
				do(n)
			}
		}
	}

	add := m.family("fwprov_status_timestamp_seconds", "gauge", "When the nodes were looked at.")
	add(float64(st.Time.Unix()), cluster)
	add = m.family("fwprov_state", "gauge", "1 for the state that the pair is in.")
	for _, s := range []provision.State{provision.Healthy, provision.Degraded, provision.Down} {
		add(is(st.State == s), cluster, label{"state", string(s)})
	}
	add = m.family("fwprov_problems", "gauge", "Checks that failed.")
	add(float64(len(st.Problems)), cluster)
	if st.Since != nil {
		add = m.family("fwprov_active_since_timestamp_seconds", "gauge", "When the active node took over.")
		add(float64(st.Since.UnixMilli())/1000, cluster, label{"node", st.Active})
	}
	add = m.family("fwprov_node_up", "gauge", "Whether the node answered.")
	for _, n := range st.Nodes {
		add(is(n.Error == ""), cluster, node(n))
	}
	add = m.family("fwprov_node_role", "gauge", "1 for the role that the node has.")
	for _, n := range st.Nodes {
		for _, role := range []string{"active", "standby", "drained", "fault", "stopped", "unreachable"} {
			add(is(n.Role == role), cluster, node(n), label{"role", role})
		}
	}
	add = m.family("fwprov_vip_held", "gauge", "Whether the node has the address.")
	for _, v := range st.VIPs {
		answering(func(n steps.NodeStatus) {
			held := false
			for _, h := range v.Holders {
				held = held || h == n.Name
			}
			add(is(held), cluster, node(n), label{"address", v.Address}, label{"interface", v.Interface})
		})
	}
	add = m.family("fwprov_connections", "gauge", "Connections in the kernel's table.")
	answering(func(n steps.NodeStatus) { add(float64(n.Connections), cluster, node(n)) })
	add = m.family("fwprov_connections_max", "gauge", "Connections that the table has room for.")
	answering(func(n steps.NodeStatus) { add(float64(n.MaxConnections), cluster, node(n)) })
	m.sync(cluster, st)
	m.services(cluster, st)
	m.interfaces(cluster, st)
	return m.b.String()
}

func (m *metrics) sync(cluster label, st steps.Status) {
	for _, f := range []struct {
		name, kind, help string
		value            func(s *steps.SyncStatus) int
	}{
		{"fwprov_sync_own_connections", "gauge", "Connections through the node that its conntrackd knows.", func(s *steps.SyncStatus) int { return s.Own }},
		{"fwprov_sync_peer_connections", "gauge", "Connections through the peer that the node's conntrackd knows.", func(s *steps.SyncStatus) int { return s.Peer }},
		{"fwprov_sync_missing_connections", "gauge", "Connections through the peer that the node's conntrackd does not know.", func(s *steps.SyncStatus) int { return s.Missing }},
		{"fwprov_sync_sent_messages_total", "counter", "Messages sent to the peer.", func(s *steps.SyncStatus) int { return s.Sent }},
		{"fwprov_sync_received_messages_total", "counter", "Messages received from the peer.", func(s *steps.SyncStatus) int { return s.Received }},
		{"fwprov_sync_errors_total", "counter", "Errors of sending and receiving.", func(s *steps.SyncStatus) int { return s.Errors }},
		{"fwprov_sync_lost_messages_total", "counter", "Messages of the peer that were lost.", func(s *steps.SyncStatus) int { return s.Lost }},
	} {
		add := m.family(f.name, f.kind, f.help)
		for _, n := range st.Nodes {
			if n.Sync != nil {
				add(float64(f.value(n.Sync)), cluster, label{"node", n.Name})
			}
		}
	}
}

func (m *metrics) services(cluster label, st steps.Status) {
	if len(st.Services) == 0 {
		return
	}
	add := m.family("fwprov_service_sessions", "gauge", "Sessions of the service on the active node.")
	for _, s := range st.Services {
		add(float64(s.Sessions), cluster, label{"service", s.Name})
	}
	add = m.family("fwprov_server_up", "gauge", "Whether the server is up.")
	for _, s := range st.Services {
		for _, srv := range s.Servers {
			add(is(srv.Up), cluster, label{"service", s.Name}, label{"server", srv.Name})
		}
	}
}

func (m *metrics) interfaces(cluster label, st steps.Status) {
	for _, f := range []struct {
		name, kind, help string
		value            func(i steps.InterfaceStatus) float64
	}{
		{"fwprov_interface_up", "gauge", "Whether the interface is up and has a carrier.", func(i steps.InterfaceStatus) float64 { return is(i.Up) }},
		{"fwprov_interface_receive_bytes_total", "counter", "Bytes received.", func(i steps.InterfaceStatus) float64 { return float64(i.RxBytes) }},
		{"fwprov_interface_receive_packets_total", "counter", "Packets received.", func(i steps.InterfaceStatus) float64 { return float64(i.RxPackets) }},
		{"fwprov_interface_transmit_bytes_total", "counter", "Bytes sent.", func(i steps.InterfaceStatus) float64 { return float64(i.TxBytes) }},
		{"fwprov_interface_transmit_packets_total", "counter", "Packets sent.", func(i steps.InterfaceStatus) float64 { return float64(i.TxPackets) }},
	} {
		add := m.family(f.name, f.kind, f.help)
		for _, n := range st.Nodes {
			for _, i := range n.Interfaces {
				add(f.value(i), cluster, label{"node", n.Name}, label{"interface", i.Name}, label{"network", i.Network})
			}
		}
	}
}
