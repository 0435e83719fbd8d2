package steps

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"fwprov/inventories"
	"fwprov/provision"
)

// preflight finds out what kind of machine a node is, and whether fwprov can
// work on it. It changes nothing.
type preflight struct {
	pair *inventories.Pair
	node inventories.Node
}

var _ provision.Step = preflight{}

func (preflight) Name() string { return "preflight" }

// What else preflight finds out, for itself and the steps beside it:
//
//	os state                 "running" if systemd runs the system, see sd_booted(3)
//	os uid                   of the commands that fwprov runs
//	os readonly              "yes" if /etc cannot be written
//	os modules               "yes" if the machine has the modules of its running kernel
//	disk PATH                free space in KiB, only if it is too little
//	kernel release           uname -r
//	kernel MODULE            "yes" if the kernel has or can load it, for each of kernelModules
//	module MODULE            "yes" if it comes with the running kernel, loaded or not
//	kernel memory            in KiB
//	command NAME             "yes" if there is one, for each of the commands looked for
//	networkd NAME            file that configures the outside interface, if systemd-networkd does

// kernelModules are the ones that the pair may need.
var kernelModules = []string{"8021q", "nf_conntrack", "nf_conntrack_ipv4", "xt_socket"}

// diskNeeds is the free space in KiB without which nothing is begun.
var diskNeeds = []struct {
	path string
	kib  int
}{{"/", 100 << 10}, {"/var", 100 << 10}, {"/etc", 10 << 10}, {"/run", 4 << 10}}

func (s preflight) Probe() provision.Probe {
	return provision.Probe{Units: []string{"NetworkManager.service", "systemd-networkd.service", "network.service"},
		Script: preflightScript(s.pair.Outside.Interface), Parse: parsePreflight}
}

func preflightScript(outside string) string {
	var paths []string
	for _, d := range diskNeeds {
		paths = append(paths, d.path)
	}
	return `
r= host=
read -r host </proc/sys/kernel/hostname
read -r r </proc/sys/kernel/osrelease
echo '== uname'; echo "$host $r"
echo '== uid'
while read -r k v _; do [ "$k" = Uid: ] && echo "$v" && break; done </proc/self/status
echo '== os'
for f in /etc/os-release /usr/lib/os-release; do
	[ -r $f ] || continue
	while IFS= read -r l; do printf '%s\n' "$l"; done <$f
	break
done
echo '== systemd'
[ -d /run/systemd/system ] && echo State=running
echo '== command'
for c in apt-get dnf yum ip ping modprobe nmcli networkctl ifup; do command -v $c >/dev/null && echo $c; done
[ -r /etc/network/interfaces ] && echo interfaces
[ -x /etc/sysconfig/network-scripts/ifup ] && echo network-scripts
echo '== selinux'
if [ -r /sys/fs/selinux/enforce ]; then read -r v </sys/fs/selinux/enforce; echo "$v"
elif [ -e /etc/selinux/config ]; then echo disabled; fi
echo '== link'
i=
[ -r ` + "/sys/class/net/" + provision.Quote(outside) + `/ifindex ] && read -r i </sys/class/net/` + provision.Quote(outside) + `/ifindex
echo name ` + provision.Quote(outside) + `
[ -n "$i" ] && cat /run/systemd/netif/links/$i /run/NetworkManager/devices/$i
echo '== memory'
while read -r k v _; do [ "$k" = MemTotal: ] && echo "$v" && break; done </proc/meminfo
echo '== modules'
for m in ` + strings.Join(kernelModules, " ") + `; do [ -d /sys/module/$m ] && echo /$m.ko; done
[ -d /proc/net/vlan ] && echo /8021q.ko
if [ -r "/lib/modules/$r/modules.dep" ]; then
	echo tree
	grep -hoE '/(` + strings.Join(kernelModules, "|") + `)\.ko[.a-z]*(:|$)' "/lib/modules/$r/modules.dep" "/lib/modules/$r/modules.builtin"
fi
echo '== disk'
[ -w /etc ] || echo readonly
df -Pk ` + strings.Join(paths, " ") + `
`
}

// sections splits what a probe printed at its lines "== NAME".
func sections(output string) map[string][]string {
	out := map[string][]string{}
	name := ""
	for l := range strings.Lines(output) {
		l = strings.TrimRight(l, "\r\n")
		if n, ok := strings.CutPrefix(l, "== "); ok {
			name = n
			continue
		}
		out[name] = append(out[name], l)
	}
	return out
}

func parsePreflight(output string, f provision.Facts) error {
	s := sections(output)
	set := func(value string, words ...string) {
		if value != "" {
			f[provision.Key(words...)] = value
		}
	}
	if u := strings.Fields(strings.Join(s["uname"], " ")); len(u) == 2 {
		set(u[0], "os", "hostname")
		set(u[1], "kernel", "release")
	}
	set(first(s["uid"]), "os", "uid")
	rel := assignments(s["os"])
	set(rel["ID"], "os", "id")
	set(rel["ID_LIKE"], "os", "like")
	set(rel["VERSION_ID"], "os", "version")
	set(assignments(s["systemd"])["State"], "os", "state")
	commands := map[string]bool{}
	for _, c := range s["command"] {
		commands[c] = true
		set("yes", "command", c)
	}
	set(packageManager(rel, commands), "os", "packages")
	switch first(s["selinux"]) {
	case "1":
		set("enforcing", "os", "selinux")
	case "0":
		set("permissive", "os", "selinux")
	case "disabled":
		set("disabled", "os", "selinux")
	}
	link := assignments(s["link"])
	set(networkStack(f, commands, link), "os", "network")
	if name, ok := strings.CutPrefix(first(s["link"]), "name "); ok {
		set(link["NETWORK_FILE"], "networkd", name)
	}
	set(digits(first(s["memory"])), "kernel", "memory")
	for _, m := range s["modules"] { // loaded ones, "tree", those of the tree
		name, _, ok := strings.Cut(strings.TrimPrefix(m, "/"), ".ko")
		switch {
		case m == "tree":
			set("yes", "os", "modules")
		case ok && slices.Contains(kernelModules, name):
			set("yes", "kernel", name)
			set(f.Get("os", "modules"), "module", name)
		}
	}
	parseDisk(s["disk"], f)
	return nil
}

// parseDisk reads df -P, one line for each of diskNeeds in that order.
func parseDisk(lines []string, f provision.Facts) {
	if first(lines) == "readonly" {
		f["os readonly"] = "yes"
		lines = lines[1:]
	}
	if len(lines) != len(diskNeeds)+1 { // its title
		return
	}
	for i, d := range diskNeeds {
		if w := strings.Fields(lines[i+1]); len(w) >= 6 {
			if free, err := strconv.Atoi(w[3]); err == nil && free < d.kib {
				f[provision.Key("disk", d.path)] = w[3]
			}
		}
	}
}

// assignments reads lines NAME=VALUE, the value possibly quoted as in os-release.
func assignments(lines []string) map[string]string {
	out := map[string]string{}
	for _, l := range lines {
		if k, v, ok := strings.Cut(strings.TrimSpace(l), "="); ok {
			out[k] = strings.TrimSpace(strings.Trim(v, `"'`))
		}
	}
	return out
}

func first(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.TrimSpace(lines[0])
}

// digits is the first number in s.
func digits(s string) string {
	i := strings.IndexAny(s, "0123456789")
	if i < 0 {
		return ""
	}
	s = s[i:]
	if end := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		s = s[:end]
	}
	return s
}

// packageManager goes by what the distribution says it is first: a Debian can
// have dnf installed.
func packageManager(rel map[string]string, commands map[string]bool) string {
	order := []string{"apt-get", "dnf", "yum"}
	if enterprise(rel["ID"], rel["ID_LIKE"]) {
		order = []string{"dnf", "yum"}
	}
	for _, m := range order {
		if commands[m] {
			return strings.TrimSuffix(m, "-get")
		}
	}
	return ""
}

// enterprise tells Enterprise Linux and its kin.
func enterprise(id, like string) bool {
	for _, w := range strings.Fields(id + " " + like) {
		if w == "rhel" || w == "centos" || w == "fedora" {
			return true
		}
	}
	return false
}

// networkStack is what configures the outside interface, else what runs.
func networkStack(f provision.Facts, commands map[string]bool, link map[string]string) string {
	is := func(unit string) bool { return f.Get("unit", unit, "ActiveState") == "active" }
	nm, networkd, ifcfg := is("NetworkManager.service"), is("systemd-networkd.service"), is("network.service")
	state := link["ADMIN_STATE"]
	switch {
	case nm && link["managed"] == "true":
		return "networkmanager"
	case networkd && (state == "configured" || state == "configuring"):
		return "networkd"
	case ifcfg && commands["network-scripts"]:
		return "ifcfg"
	case commands["interfaces"] && commands["ifup"]:
		return "ifupdown"
	case nm:
		return "networkmanager"
	case networkd:
		return "networkd"
	case commands["network-scripts"]:
		return "ifcfg"
	}
	return ""
}

// Plan has no changes. The engine adds the findings of the other steps, so that
// all that is wrong with a machine is told at once.
func (s preflight) Plan(f provision.Facts) ([]provision.Change, error) {
	var out provision.Findings
	add := func(bad bool, hint, format string, args ...any) {
		if bad {
			out = append(out, provision.Finding{Summary: fmt.Sprintf(format, args...), Hint: hint})
		}
	}
	uid := f.Get("os", "uid")
	add(uid != "0", "log in as root, or set sudo = true for a user who may use sudo",
		"commands run as uid %s, not as root", uid)
	state := f.Get("os", "state")
	add(state != "running", "fwprov needs a booted systemd", "systemd does not run the system")
	v := f.Get("version", "systemd")
	add(v != "" && !versionAtLeast(v, "219"), "upgrade the distribution", "systemd %s is older than 219", v)
	add(f.Get("os", "packages") == "", "fwprov installs with apt, dnf or yum", "no package manager was found (%s %s)",
		f.Get("os", "id"), f.Get("os", "version"))
	add(f.Get("os", "readonly") != "", "dmesg says why; mount -o remount,rw / once that is mended", "/etc cannot be written")
	add(f.Get("clock", "date") != "", "set the clock, and let an NTP client keep it",
		"the clock says %s", f.Get("clock", "date"))
	off, behind := strings.CutPrefix(f.Get("clock", "off"), "-")
	where := "ahead of"
	if behind {
		where = "behind"
	}
	add(off != "" && f.Get("clock", "date") == "", "set the one that is wrong (timedatectl, date -s), and let an NTP client keep it",
		"its clock is %s %s that of the machine fwprov runs on", off, where)
	for _, d := range diskNeeds {
		free := f.Get("disk", d.path)
		add(free != "", fmt.Sprintf("it takes %d MiB", d.kib>>10), "%s has only %s KiB free", d.path, free)
	}
	out = append(out, s.addresses(f)...)
	if len(out) > 0 {
		return nil, out
	}
	return nil, nil
}

// addresses checks what the node must have of its own: the interfaces outside
// and sync with its addresses.
func (s preflight) addresses(f provision.Facts) provision.Findings {
	if f.Get("command", "ip") == "" {
		return provision.Findings{{Summary: "there is no command ip", Hint: "install iproute2 (Debian) or iproute (Enterprise Linux)"}}
	}
	var out provision.Findings
	peer := s.pair.Peer(s.node.Name)
	for _, w := range []struct{ name, block, addr, peer string }{
		{s.pair.Outside.Interface, "outside", cidr(s.node.Outside, s.pair.Outside.Network), cidr(peer.Outside, s.pair.Outside.Network)},
		{s.pair.Sync.Interface, "sync", cidr(s.node.Sync, s.pair.Sync.Network), cidr(peer.Sync, s.pair.Sync.Network)},
	} {
		have := f.Names("addr", w.name)
		switch {
		case f.Get("link", w.name) == "":
			out = append(out, provision.Finding{Summary: "there is no interface " + w.name,
				Hint: "name the interface of the " + w.block + " block as the node does: " + strings.Join(f.Names("link"), ", ")})
		case f.Get("addr", w.name, w.addr) != "":
		case f.Get("addr", w.name, w.peer) != "":
			out = append(out, provision.Finding{Summary: w.name + " has " + w.peer + ", the address of " + peer.Name,
				Hint: "the two nodes seem to be swapped"})
		case len(have) == 0:
			out = append(out, provision.Finding{Summary: w.name + " has no address, it should have " + w.addr,
				Hint: "give the machine its own addresses first, then run fwprov"})
		default:
			out = append(out, provision.Finding{Summary: w.name + " has " + strings.Join(have, ", ") + ", it should have " + w.addr,
				Hint: "mend the machine or the " + w.block + " block and the node's addresses"})
		}
	}
	return out
}
