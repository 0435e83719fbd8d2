package hcl

// language returns the top level of an inventory.
func language() *blockType {
	return &blockType{blocks: []blockType{
		variableBlock(),
		{
			name: "locals", many: true, static: true, free: true,
			doc: "Names for expressions: `locals { office = 2 }` is `local.office` elsewhere. Any attribute name.",
		},
		{
			name: "cluster", label: "name", required: true,
			doc: "The pair as a whole. Its name stands in `--limit cluster/node` and in reports.",
			attrs: []attrType{
				{name: "domain", def: "none", doc: "DNS domain of the nodes: node \"fw01\" is then fw01.example.com."},
			},
		},
		sshBlock(),
		{
			name: "outside", required: true,
			doc: "The network of the Internet gateway, which reaches the inside through `vip`.",
			attrs: []attrType{
				{name: "interface", required: true, doc: "Interface of both nodes; at most 15 characters."},
				{name: "network", kind: kindNetwork, required: true, doc: "The network, as in \"192.168.1.0/24\"."},
				{name: "gateway", kind: kindAddress, required: true, doc: "The Internet gateway; no address of the pair."},
				{name: "vip", kind: kindAddress, required: true, doc: "The address that fails over. The gateway's route to the inside goes there."},
			},
		},
		{
			name: "sync", required: true,
			doc: "The state negotiation network of the two nodes: VRRP, conntrackd and the HAProxy peers.",
			attrs: []attrType{
				{name: "interface", required: true, doc: "Interface of both nodes; at most 15 characters."},
				{name: "network", kind: kindNetwork, required: true, doc: "The network. It may lie inside `inside.network`, but not in a VLAN's."},
			},
		},
		{
			name: "inside", required: true,
			doc: "The 802.1q trunk.",
			attrs: []attrType{
				{name: "interface", required: true, doc: "Interface of both nodes. VLAN x is `interface.x`, which may have 15 characters in all."},
				{name: "network", kind: kindNetwork, required: true, doc: "What the gateway routes to the pair. If it is a /16, VLAN x (1 to 255) is its /24 with third octet x. A VLAN outside of it is warned about."},
				{name: "vip_host", kind: kindNumber, def: "254", doc: "Host number of a VLAN's VIP, counted from the base of the VLAN's network."},
			},
		},
		{
			name: "node", label: "name", many: true, required: true,
			doc: "One of the two machines. Its hostname need not be its label.",
			attrs: []attrType{
				{name: "outside", kind: kindAddress, required: true, doc: "Its own address on the outside network, which is there already."},
				{name: "sync", kind: kindAddress, required: true, doc: "Its own address on the sync network, which is there already."},
				{name: "vlan_host", kind: kindNumber, def: "none: every VLAN names `addresses`", doc: "Its host number on every VLAN, counted from the base of the VLAN's network."},
				{name: "ssh_host", def: "`outside`", doc: "Where SSH goes: a name, an address or a Host of ssh_config."},
				{name: "priority", kind: kindNumber, def: "150, then 100, by the order of nodes", doc: "VRRP priority, 1 to 254; the two differ. A node that comes back never takes over by it."},
			},
		},
		vrrpBlock(),
		{
			name: "state_sync",
			doc:  "conntrackd, which keeps routed connections alive across a failover. Only the pair's own addresses are left out.",
			attrs: []attrType{
				{name: "mode", def: "\"ftfw\"", oneOf: []string{"ftfw", "alarm"}, doc: "\"ftfw\" sends what changed and repeats what was lost; \"alarm\" sends everything over and over."},
				{name: "transport", def: "\"unicast\"", oneOf: []string{"unicast", "multicast"}, doc: "UDP to the peer, or to group 225.0.0.50. Port 3780 on the sync network."},
			},
		},
		{
			name: "vlan", label: "name", many: true,
			doc: "One inside network. Its name is also the zone in `allow` and `service`; the names outside, inside, sync and firewall are taken.",
			attrs: []attrType{
				{name: "id", kind: kindNumber, required: true, doc: "802.1q id, 1 to 4094."},
				{name: "network", kind: kindNetwork, def: "the /24 of `inside.network` with third octet `id`", doc: "The network. Needed where `inside.network` is no /16 or the id is over 255."},
				{name: "vip", kind: kindAddress, def: "host `inside.vip_host` of the network", doc: "The address that fails over: the default gateway of the machines in the VLAN."},
				{name: "addresses", kind: kindHosts, def: "host `vlan_host` of each node", doc: "The nodes' own addresses: `{ fw01 = \"10.10.2.253\", fw02 = \"10.10.2.252\" }`. A node left out has its `vlan_host`."},
				{name: "vrid", kind: kindNumber, def: "`id`, if that is 2 to 255", doc: "VRRP router id of the VLAN's instance, 1 to 255. Only with `instances = \"per_vlan\"`."},
			},
		},
		serviceBlock(),
		{
			name: "allow", label: "name", many: true,
			doc: "What may pass; nothing else does. Answers to what was allowed are never asked again. " +
				"Zones are outside, inside (every VLAN), sync, firewall (the nodes themselves) and the names of the VLANs; " +
				"inside to inside is between VLANs. With none of tcp, udp and icmp: every protocol. " +
				"The nodes' own outgoing traffic is free, and ICMP echo to nodes and VIPs is answered.",
			attrs: []attrType{
				{name: "from", required: true, doc: "Zone the connection comes from."},
				{name: "to", required: true, doc: "Zone it goes to."},
				{name: "sources", kind: kindNetworks, def: "any", doc: "Only from these."},
				{name: "destinations", kind: kindNetworks, def: "any", doc: "Only to these."},
				{name: "tcp", kind: kindPorts, def: "none", doc: "TCP ports, as in `[25, \"8000-8080\"]`."},
				{name: "udp", kind: kindPorts, def: "none", doc: "UDP ports."},
				{name: "icmp", kind: kindBool, def: "false", doc: "ICMP."},
				{name: "log", kind: kindBool, def: "false", doc: "Logs the connections that the rule accepts."},
			},
		},
	}}
}

func variableBlock() blockType {
	return blockType{
		name: "variable", label: "name", many: true, static: true,
		doc: "A value that is given from outside: `var.name` elsewhere. It comes from `--var name=value`, else `--var-file FILE`, " +
			"else FWPROV_VAR_name, else `default`, else it is asked for on a terminal.",
		attrs: []attrType{
			{name: "description", kind: kindExpr, typ: "string", def: "none", doc: "What it is; shown where it is asked for."},
			{name: "type", kind: kindExpr, typ: "type", def: "any", doc: "`string`, `number`, `bool`, `list(string)`, `map(number)`, `object({ id = number })` and so on. Written without quotes."},
			{name: "default", kind: kindExpr, typ: "any", def: "none: a value must be given", doc: "A constant; functions may be called."},
			{name: "sensitive", kind: kindExpr, typ: "bool", def: "false", doc: "Never shown in a plan, log or error. Only `vrrp.password` takes it. For a value from an encrypted file see `age_file`."},
		},
		blocks: []blockType{{
			name: "validation", many: true,
			doc: "A condition that the value must meet.",
			attrs: []attrType{
				{name: "condition", kind: kindExpr, typ: "bool", required: true, doc: "True if the value is good."},
				{name: "error_message", kind: kindExpr, typ: "string", required: true, doc: "What is said if it is not."},
			},
		}},
	}
}

func sshBlock() blockType {
	return blockType{
		name: "ssh",
		doc: "How the nodes are reached. Whatever it leaves out is what ~/.ssh/config says, else what OpenSSH does. A connection " +
			"that `ssh` shares (ControlPath) is used where there is one, see [secrets.md](secrets.md#controlmaster); not with `known_hosts` or `proxy_jump`.",
		attrs: []attrType{
			{name: "user", def: "ssh_config, else root", doc: "Login name."},
			{name: "port", kind: kindNumber, def: "ssh_config, else 22", doc: "1 to 65535."},
			{name: "identity_file", def: "ssh_config, else the agent and the default keys", doc: "Private key; ~ is the home directory."},
			{name: "known_hosts", def: "~/.ssh/known_hosts", doc: "File of the known host keys."},
			{name: "proxy_jump", def: "ssh_config", doc: "Jump hosts, `[user@]host[:port]`, several by commas."},
			{name: "sudo", kind: kindBool, def: "false", doc: "Become root by sudo. If that wants a password: FWPROV_SUDO_PASSWORD, `--sudo-password-fd N`, else it is asked for, once for both nodes."},
			{name: "allow_from", kind: kindNetworks, def: "anyone", doc: "Who may reach SSH on the nodes."},
		},
	}
}

func vrrpBlock() blockType {
	return blockType{
		name: "vrrp",
		doc:  "How the two nodes agree on who is active. A node that comes back stays standby (nopreempt).",
		attrs: []attrType{
			{name: "version", kind: kindNumber, def: "3", doc: "2 or 3. Version 3 has no password; version 2 counts whole seconds."},
			{name: "instances", def: "\"single\"", oneOf: []string{"single", "per_vlan"}, doc: "\"single\": GW carries every VIP, so that a VLAN comes and goes without a failover. \"per_vlan\": GWEXT and one GWnnn per VLAN, all on the sync interface."},
			{name: "heartbeat", kind: kindNames, def: "[\"sync\", \"outside\"]; per_vlan [\"sync\"]", doc: "The paths a node must be silent on to be taken for dead. [\"sync\"] alone is warned about: where that path is cut, both nodes are active."},
			{name: "password", kind: kindSecret, def: "none", doc: "Version 2 only: 1 to 8 letters and digits. It goes over the wire in clear."},
			{name: "advert_interval", kind: kindDuration, def: "\"300ms\"; vm or version 2 \"1s\"", doc: "Between adverts on the sync interface. Version 3: 10ms to 40.95s; version 2: 1s to 255s."},
			{name: "outside_advert_interval", kind: kindDuration, def: "\"100ms\"; vm \"300ms\"; version 2 \"1s\"", doc: "The same on the outside interface, where outside is a heartbeat."},
			{name: "profile", def: "none", oneOf: []string{"vm"}, doc: "\"vm\" is for virtual machines, which stall: slower adverts, scripts that wait three times as long, and a watchdog of 10 s instead of 4."},
			{name: "first_router_id", kind: kindNumber, def: "1", doc: "VRRP router id of GW (HB has the next) or GWEXT. Two pairs on one network need different ones."},
		},
	}
}

func serviceBlock() blockType {
	return blockType{
		name: "service", label: "name", many: true,
		doc: "One port balanced by HAProxy over servers. It accepts connections from its zones without an `allow`.",
		attrs: []attrType{
			{name: "port", kind: kindNumber, required: true, doc: "TCP port, 1 to 65535. The nodes' own (SSH, 1347 and 1349, on which they speak to each other) are refused."},
			{name: "address", kind: kindAddress, def: "`outside.vip`", doc: "A VLAN's VIP, or another address of the outside network, which then fails over too."},
			{name: "mode", def: "\"tcp\"", oneOf: []string{"tcp", "http"}, doc: "What HAProxy speaks."},
			{name: "transparent", kind: kindBool, def: "false", doc: "The servers see the client's own address. Their default route must be the pair, and no server may stand in a zone of `from`."},
			{name: "balance", def: "\"roundrobin\"", oneOf: []string{"roundrobin", "static-rr", "leastconn", "first", "source"}, doc: "How a server is chosen."},
			{name: "sticky", kind: kindDuration, def: "none", doc: "How long a client keeps its server, across a failover too: 1s to 576h (24 days)."},
			{name: "from", kind: kindNames, def: "[\"outside\"]", doc: "Zones that may reach it: outside, inside, sync or VLANs."},
		},
		blocks: []blockType{
			{
				name: "check",
				doc:  "How a server's health is found out. Without the block: a TCP connect every 2s.",
				attrs: []attrType{
					{name: "type", def: "\"tcp\"; in mode http \"http\"", oneOf: []string{"tcp", "smtp", "http"}, doc: "A TCP connect, an SMTP greeting or an HTTP request."},
					{name: "path", def: "\"/\"", doc: "What an http check asks for."},
					{name: "interval", kind: kindDuration, def: "\"2s\"", doc: "Between checks, 100ms to 1h."},
					{name: "fast_interval", kind: kindDuration, def: "\"1s\", at most `interval`", doc: "Between checks of a server that is going up or down."},
					{name: "rise", kind: kindNumber, def: "2", doc: "Good checks that bring a server up, 1 to 100."},
					{name: "fall", kind: kindNumber, def: "3", doc: "Bad checks that take it down, 1 to 100."},
				},
			},
			{
				name: "timeouts",
				doc:  "How long HAProxy waits: 100ms to 24h.",
				attrs: []attrType{
					{name: "connect", kind: kindDuration, def: "\"5s\"", doc: "For a server to accept."},
					{name: "client", kind: kindDuration, def: "\"5m\"; in mode http \"1m\"", doc: "For a silent client."},
					{name: "server", kind: kindDuration, def: "\"5m\"; in mode http \"1m\"", doc: "For a silent server."},
				},
			},
			{
				name: "server", label: "name", many: true, required: true,
				doc: "One machine behind the service.",
				attrs: []attrType{
					{name: "address", kind: kindAddress, required: true, doc: "At least one server of a service stands in a VLAN or on the outside network."},
					{name: "port", kind: kindNumber, def: "the service's", doc: "1 to 65535."},
				},
			},
		},
	}
}
