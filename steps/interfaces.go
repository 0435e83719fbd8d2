package steps

import (
	"cmp"
	_ "embed" // the templates
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"fwprov/inventories"
	"fwprov/provision"
)

// interfaces makes the VLAN interfaces of the trunk with the node's own
// addresses on them, now with ip and at boot in the way of the machine. Now is
// the same everywhere, since ifup, nmcli and networkctl may take away addresses
// they do not know, the VIPs among them.
//
// Where the kernel has no 802.1q an interface of that name is used as it is and
// stays when the VLAN leaves; only the address goes. The manifest tells these
// apart: "managed interface NAME" is "interfaces created ADDRESS/BITS" or
// "interfaces used ADDRESS/BITS". A VLAN of the trunk is always one of ours, so
// that nothing is lost if a run ends between making it and noting it.
type interfaces struct {
	pair *inventories.Pair
	node inventories.Node
}

var (
	_ provision.Step     = interfaces{}
	_ provision.Renderer = interfaces{}
	_ provision.Slow     = interfaces{}
)

// One file of templates a stack.
var (
	//go:embed interfaces_ifcfg.tmpl
	ifcfgTemplates string
	//go:embed interfaces_ifupdown.tmpl
	ifupdownTemplates string
	//go:embed interfaces_networkd.tmpl
	networkdTemplates string
	//go:embed interfaces_networkmanager.tmpl
	nmTemplates string
)

func (interfaces) Name() string { return "interfaces" }

// Timeout allows for the time that hundreds of VLANs take.
func (s interfaces) Timeout() time.Duration {
	return 2*time.Minute + time.Duration(len(s.pair.VLANs))*time.Second
}

// Ways to have made an interface, as the manifest says it.
const (
	created = "created"
	used    = "used"
)

// vlanInterface is one interface as this node has to have it.
type vlanInterface struct {
	Name string
	ID   int
	Addr string // ADDRESS/BITS
	VLAN bool   // to be made with 802.1q; else it exists
}

// IP is the address without the length of its prefix.
func (v vlanInterface) IP() string { a, _, _ := strings.Cut(v.Addr, "/"); return a }

// Bits is the length of the prefix.
func (v vlanInterface) Bits() string { _, b, _ := strings.Cut(v.Addr, "/"); return b }

func cidr(a netip.Addr, network netip.Prefix) string {
	return netip.PrefixFrom(a, network.Bits()).String()
}

// want lists the VLAN interfaces in the order of the inventory.
func (s interfaces) want(f provision.Facts) []vlanInterface {
	var out []vlanInterface
	for _, v := range s.pair.VLANs {
		out = append(out, vlanInterface{v.Interface, v.ID, cidr(v.Addresses[s.node.Name], v.Network), f.Get("kernel", "8021q") != ""})
	}
	return out
}

func (s interfaces) Probe() provision.Probe {
	trunk := provision.Quote(s.pair.Inside.Interface)
	return provision.Probe{
		Files: []string{
			ifupdownFile,
			nmDir + "fwprov-*.nmconnection",
			networkdDir + networkdPrefix + "*",
			networkdDir + "*.network.d/fwprov.conf",
			networkdConf,
			networkdUnit,
			ifcfgDir + "ifcfg-" + s.pair.Inside.Interface,
			ifcfgDir + "ifcfg-" + s.pair.Inside.Interface + ".*",
		},
		// ip -br: one short line an interface, whatever the number of VLANs
		Script: `
echo '== ip'
ip -br -force -batch - <<'E'
link show
addr show
route show default
rule show
route show table 100
E
echo '== vlan'
[ -r /proc/net/vlan/config ] && cat /proc/net/vlan/config
echo '== interfaces'
[ -r /etc/network/interfaces ] &&
	grep -sHE '^[[:space:]]*(iface|source|source-directory)[[:space:]]' /etc/network/interfaces /etc/network/interfaces.d/*
echo '== ifcfg'
[ -r ` + ifcfgDir + "ifcfg-" + trunk + ` ] && grep -E '^(ONBOOT|IPADDR|BOOTPROTO)' ` + ifcfgDir + "ifcfg-" + trunk + `
:
`,
		Parse: parseInterfaces,
	}
}

func (s interfaces) Plan(f provision.Facts) ([]provision.Change, error) {
	if bad := s.findings(f); len(bad) > 0 {
		return nil, bad
	}
	var early, late []provision.Change
	for _, c := range provision.PlanFiles(f, s.Name(), s.Files(f)...) {
		if c.Action == provision.Delete {
			c.Late = true
			late = append(late, c)
		} else {
			early = append(early, c)
		}
	}
	add := s.planWanted(f)
	if owed := s.networkdOwed(f); len(owed) > 0 {
		early = append(early, owed...)
	} else if len(add) > 0 {
		early = append(early, s.reread(f, add, false)...)
	}
	early = append(early, add...)
	if gone := s.planGone(f); len(gone) > 0 {
		late = append(append(late, s.reread(f, gone, true)...), gone...)
	}
	late = append(late, s.planMoved(f)...)
	slices.Reverse(late) // late changes are carried out from the last to the first
	return append(early, late...), nil
}

// planWanted brings up the trunk and every VLAN interface with its address.
func (s interfaces) planWanted(f provision.Facts) []provision.Change {
	var out []provision.Change
	want := s.want(f)
	trunk := s.pair.Inside.Interface
	key := provision.Key("link", trunk)
	if state, rest, _ := strings.Cut(f[key], " "); len(want) > 0 && want[0].VLAN && state == "down" {
		out = append(out, provision.Change{Step: s.Name(), Target: trunk, Action: provision.Update, Why: "is down",
			From: f.Select(key), Makes: provision.Facts{key: strings.TrimSpace("up " + rest)},
			Script: "ip link set dev " + provision.Quote(trunk) + " up"})
	}
	for _, w := range want {
		if c, ok := s.planInterface(f, w); ok {
			out = append(out, c)
		}
	}
	return out
}

func (s interfaces) planInterface(f provision.Facts, w vlanInterface) (provision.Change, bool) {
	link, addr := provision.Key("link", w.Name), provision.Key("addr", w.Name, w.Addr)
	managed := provision.Key("managed", "interface", w.Name)
	how := used
	if w.VLAN {
		how = created
	}
	c := provision.Change{Step: s.Name(), Target: w.Name, Action: provision.Update,
		From: f.Select(link, addr, managed), Makes: provision.Facts{}}
	var why, script []string
	name := provision.Quote(w.Name)
	state, rest, _ := strings.Cut(f[link], " ")
	if state == "" {
		c.Action = provision.Create
		kind := fmt.Sprintf("vlan %s %d", s.pair.Inside.Interface, w.ID)
		why = append(why, fmt.Sprintf("VLAN %d on %s, %s", w.ID, s.pair.Inside.Interface, w.Addr))
		if f.Get("os", "network") == "networkmanager" { // an interface it did not make itself it would configure later
			script = append(script, fmt.Sprintf("[ -e /sys/class/net/%s ] || nmcli -w 20 connection up %s || :", name, provision.Quote("fwprov-"+w.Name)))
		}
		script = append(script, fmt.Sprintf("[ -e /sys/class/net/%[1]s ] || ip link add link %[2]s name %[1]s type vlan id %[3]d || [ -e /sys/class/net/%[1]s ]",
			name, provision.Quote(s.pair.Inside.Interface), w.ID))
		rest = kind
		// as an interface begins; an address makes it deaf to later changes of "default"
		c.Makes[provision.Key("sysctl", interfaceKey(w.Name))] = f.Get("sysctl", "net.ipv4.conf.default."+perInterface)
	}
	if state != "up" {
		if state == "down" {
			why = append(why, "is down")
		}
		script = append(script, "ip link set dev "+name+" up")
		c.Makes[link] = strings.TrimSpace("up " + rest)
	}
	if f[addr] == "" {
		if state != "" {
			why = append(why, "has no address "+w.Addr)
		}
		script = append(script, "ip addr replace "+w.Addr+" brd + dev "+name)
		c.Makes[addr] = "yes"
	}
	if detail := s.Name() + " " + how + " " + w.Addr; f[managed] != detail {
		c.Makes[managed] = detail
		if len(why) == 0 {
			why = append(why, "is as it should be, but not recorded as managed")
		}
	}
	c.Why, c.Script = strings.Join(why, "; "), strings.Join(script, "\n")
	return c, len(c.Makes) > 0
}

// managedInterface is what the manifest says of an interface.
func managedInterface(f provision.Facts, name string) (how, addr string) {
	w := strings.Fields(f.Get("managed", "interface", name))
	if len(w) != 3 || w[0] != "interfaces" {
		return "", ""
	}
	if _, err := netip.ParsePrefix(w[2]); err != nil {
		return w[1], ""
	}
	return w[1], w[2]
}

// delAddr removes an address, unless NetworkManager was faster. Without promote_secondaries, which the sysctl
// step sets, the kernel would take the VIPs of that network with it.
func delAddr(name, addr string) string {
	return fmt.Sprintf("echo 1 >/proc/sys/net/ipv4/conf/%[1]s/promote_secondaries\n"+
		"ip addr del %[2]s dev %[1]s || [ -z \"$(ip -o -4 addr show dev %[1]s | grep -F ' %[3]s ')\" ]", provision.Quote(name), provision.Quote(addr), addr)
}

// planMoved removes the address that an interface had before the inventory gave
// it another one. That is late: as long as keepalived has a VIP beside it, the VIP
// would become the first address of the interface, and what the node sends of its
// own would come from there.
func (s interfaces) planMoved(f provision.Facts) []provision.Change {
	var out []provision.Change
	for _, w := range s.want(f) {
		_, before := managedInterface(f, w.Name)
		has := provision.Key("addr", w.Name, before)
		if before != "" && before != w.Addr && f[has] != "" {
			out = append(out, provision.Change{Step: s.Name(), Target: w.Name + " " + before, Action: provision.Delete, Late: true,
				Why: "the interface has another address now", From: f.Select(has), Makes: provision.Facts{has: ""}, Script: delAddr(w.Name, before)})
		}
	}
	return out
}

// planGone takes down what left the inventory, after everyone let go of it.
func (s interfaces) planGone(f provision.Facts) []provision.Change {
	keep := map[string]bool{}
	for _, w := range s.want(f) {
		keep[w.Name] = true
	}
	addrs := map[string][]string{} // keys of the facts, by interface
	for _, k := range f.Keys("addr") {
		name, _, _ := strings.Cut(strings.TrimPrefix(k, "addr "), " ")
		addrs[name] = append(addrs[name], k)
	}
	var out []provision.Change
	names := f.Names("managed", "interface")
	slices.SortFunc(names, func(a, b string) int { // by VLAN id once the late ones are reversed
		return cmp.Or(len(b)-len(a), strings.Compare(b, a))
	})
	for _, name := range names {
		how, addr := managedInterface(f, name)
		if keep[name] || how == "" {
			continue
		}
		managed, link := provision.Key("managed", "interface", name), provision.Key("link", name)
		c := provision.Change{Step: s.Name(), Target: name, Action: provision.Delete, Why: "left the inventory", Late: true,
			From: f.Select(managed, link), Makes: provision.Facts{managed: ""}}
		has := provision.Key("addr", name, addr)
		switch {
		case f[link] == "":
			c.Why += ", was deleted by hand"
		case how == created:
			q := provision.Quote(name)
			c.Script = fmt.Sprintf("[ ! -e /sys/class/net/%[1]s ] || ip link del dev %[1]s || [ ! -e /sys/class/net/%[1]s ]", q)
			c.Makes[link], c.Makes[provision.Key("carrier", name)], c.Makes[provision.Key("sysctl", interfaceKey(name))] = "", "", ""
			for _, k := range addrs[name] {
				c.Makes[k] = ""
			}
		case addr != "" && f[has] != "":
			c.Target, c.Why = name+" "+addr, "left the inventory; fwprov did not make the interface, it stays"
			c.From[has], c.Makes[has] = f[has], ""
			c.Script = delAddr(name, addr)
		}
		out = append(out, c)
	}
	return out
}

// findings are the reasons why the VLAN interfaces cannot be made.
func (s interfaces) findings(f provision.Facts) provision.Findings {
	var out provision.Findings
	add := func(hint, format string, args ...any) {
		out = append(out, provision.Finding{Summary: fmt.Sprintf(format, args...), Hint: hint})
	}
	trunk := s.pair.Inside.Interface
	want := s.want(f)
	if len(want) == 0 {
		return nil
	}
	if want[0].VLAN {
		if f.Get("link", trunk) == "" {
			add("name the interface of the inside block as the node does: "+strings.Join(f.Names("link"), ", "), "there is no interface %s", trunk)
		}
		if have := f.Names("addr", trunk); len(have) > 0 {
			add("remove it, or name another interface in the inside block", "%s has the address %s, but a VLAN trunk carries none", trunk, strings.Join(have, ", "))
		}
	}
	var absent []string
	for _, w := range want {
		link := strings.Fields(f.Get("link", w.Name))
		switch {
		case len(link) == 0 && !w.VLAN:
			absent = append(absent, w.Name)
		case len(link) == 4 && (link[2] != trunk || link[3] != fmt.Sprint(w.ID)):
			add("remove that interface, or give it another name", "%s is VLAN %s of %s, it should be VLAN %d of %s", w.Name, link[3], link[2], w.ID, trunk)
		case len(link) == 1 && w.VLAN:
			add("remove that interface, or give it another name", "%s exists, but it is no VLAN of %s", w.Name, trunk)
		}
	}
	if len(absent) > 0 {
		add("install the kernel's module 8021q, or make interfaces of that name by other means",
			"the kernel has no 802.1q, and there is no interface %s", strings.Join(absent, ", "))
	}
	switch f.Get("os", "network") {
	case "":
		add("fwprov knows NetworkManager, systemd-networkd, ifupdown and ifcfg files", "nothing was found that configures interfaces at boot")
	case "ifupdown":
		if f.Get("ifupdown", "source") == "" {
			add("add the line: source /etc/network/interfaces.d/*", "/etc/network/interfaces does not read /etc/network/interfaces.d")
		}
	}
	return append(out, s.taken(f, want)...)
}

// taken finds the node's addresses on interfaces where they do not belong.
func (s interfaces) taken(f provision.Facts, want []vlanInterface) provision.Findings {
	at := map[string]string{}
	for _, w := range want {
		at[w.IP()] = w.Name
	}
	var out provision.Findings
	for _, k := range f.Names("addr") {
		name, addr, _ := strings.Cut(k, " ")
		ip, _, _ := strings.Cut(addr, "/")
		if how, _ := managedInterface(f, name); at[ip] == "" || at[ip] == name || how != "" {
			continue
		}
		out = append(out, provision.Finding{Summary: fmt.Sprintf("%s is on %s, it should be on %s", addr, name, at[ip]),
			Hint: "remove it from " + name})
	}
	return out
}
