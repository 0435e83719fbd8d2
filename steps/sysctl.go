package steps

import (
	_ "embed" // the template
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"fwprov/inventories"
	"fwprov/provision"
)

// sysctl makes the kernel a router that can bind what it does not hold yet, at
// boot through a file and now.
type sysctl struct {
	pair *inventories.Pair
	node inventories.Node
}

var (
	_ provision.Step     = sysctl{}
	_ provision.Renderer = sysctl{}
)

//go:embed sysctl.tmpl
var sysctlTemplates string

// The files.
const (
	sysctlFile  = "/etc/sysctl.d/90-fwprov.conf"
	modulesFile = "/etc/modules-load.d/fwprov.conf"
)

func (sysctl) Name() string { return "sysctl" }

// setting is one key as sysctl.d writes it: a dot of an interface's name is a
// slash.
type setting struct{ Key, Value, Why string }

// settings are in the order in which they are set: ip_forward resets others.
// Interfaces take the stricter of their own value and that of "all", but for
// send_redirects.
var settings = []setting{
	{"net.ipv4.ip_forward", "1", "the nodes route, and bind VIPs that their peer holds"},
	{"net.ipv4.ip_nonlocal_bind", "1", ""},
	{"net.ipv4.conf.all.rp_filter", "2", "loose: proxied packets carry the client's address"},
	{"net.ipv4.conf.default.rp_filter", "2", ""},
	{"net.ipv4.conf.all.promote_secondaries", "1", "an address that goes does not take the VIPs of its network along"},
	{"net.ipv4.conf.all.arp_ignore", "1", "an address is known on its own network only"},
	{"net.ipv4.conf.all.arp_announce", "2", ""},
	{"net.ipv4.conf.all.accept_redirects", "0", "routes are nobody else's to change"},
	{"net.ipv4.conf.default.accept_redirects", "0", ""},
	{"net.ipv4.conf.all.accept_source_route", "0", ""},
	{"net.ipv4.conf.default.accept_source_route", "0", ""},
	{"net.ipv4.conf.all.send_redirects", "0", "clients are not sent past the VIP"},
	{"net.ipv4.conf.default.send_redirects", "0", ""},
	{"net.ipv4.tcp_syncookies", "1", "a flood of SYNs does not fill the proxy's queues"},
	{"net.ipv4.neigh.default.gc_thresh1", "4096", "room for the hosts of many VLANs"},
	{"net.ipv4.neigh.default.gc_thresh2", "16384", ""},
	{"net.ipv4.neigh.default.gc_thresh3", "32768", ""},
	{"net.ipv6.conf.all.forwarding", "0", "IPv6 is not routed"},
	{"net.ipv6.conf.all.accept_redirects", "0", ""},
	{"net.ipv6.conf.default.accept_redirects", "0", ""},
	{"net.ipv6.conf.all.accept_source_route", "0", ""},
	{conntrackMaxKey, "", "connections, from the machine's memory"},
	{"net.netfilter.nf_conntrack_tcp_loose", "0", "a connection begins with a SYN or comes from the peer"},
}

const conntrackMaxKey = "net.netfilter.nf_conntrack_max"

// perInterface is set on each interface of the pair too.
const perInterface = "send_redirects"

// procPath is where the kernel has a key.
func procPath(key string) string {
	return "/proc/sys/" + strings.NewReplacer(".", "/", "/", ".").Replace(key)
}

// keyOf is the key of a path below /proc/sys.
func keyOf(p string) string { return strings.NewReplacer("/", ".", ".", "/").Replace(p) }

// interfaceKey is the key of an interface's own value.
func interfaceKey(name string) string {
	return "net.ipv4.conf." + strings.ReplaceAll(name, ".", "/") + "." + perInterface
}

func (s sysctl) Probe() provision.Probe {
	var paths []string
	for _, x := range settings {
		paths = append(paths, procPath(x.Key))
	}
	return provision.Probe{
		Files: []string{sysctlFile, modulesFile},
		// not with read: some shells read byte by byte, and the kernel gives one only
		Script: `
set -- ` + strings.Join(paths, " ") + `
echo '== fixed'; for p; do [ -e $p ] && [ ! -w $p ] && echo $p; done
echo '== value'
set -- "$@" /proc/sys/net/ipv4/conf/*/` + perInterface + `
seen=/
for f in /etc/sysctl.d/*.conf /run/sysctl.d/*.conf /usr/local/lib/sysctl.d/*.conf /usr/lib/sysctl.d/*.conf /lib/sysctl.d/*.conf; do
	n=${f##*/}
	case $seen in *"/$n/"*) continue ;; esac
	seen=$seen$n/
	[ -f "$f" ] && [ "$n" != ` + path.Base(sysctlFile) + ` ] && set -- "$@" "$f"
done
grep -sHE '^[0-9]|^[[:space:]]*-?net[./]' "$@"
`,
		Parse: parseSysctl,
	}
}

// parseSysctl reads what the probe printed. Besides the values:
//
//	fixed KEY        "yes" if the value is not the machine's to set (a container's)
//	override KEY     "FILE VALUE" of the last file after ours that sets it at boot
func parseSysctl(output string, f provision.Facts) error {
	s := sections(output)
	var overrides []string
	for _, l := range s["value"] {
		p, v, ok := strings.Cut(l, ":")
		p, kernels := strings.CutPrefix(p, "/proc/sys/")
		switch {
		case !kernels:
			overrides = append(overrides, l)
		case ok && p != "" && v != "":
			f[provision.Key("sysctl", keyOf(p))] = strings.Join(strings.Fields(v), " ")
		}
	}
	for _, p := range s["fixed"] {
		f[provision.Key("fixed", keyOf(strings.TrimPrefix(p, "/proc/sys/")))] = "yes"
	}
	parseOverrides(overrides, f)
	return nil
}

// parseOverrides reads lines FILE:KEY = VALUE. Files are applied in the order
// of their names, whatever folder they are in.
func parseOverrides(lines []string, f provision.Facts) {
	type line struct{ file, pattern, value string }
	var later []line
	for _, l := range lines {
		file, assignment, _ := strings.Cut(l, ":")
		key, value, ok := strings.Cut(assignment, "=")
		if !ok || path.Base(file) <= path.Base(sysctlFile) {
			continue
		}
		key = strings.TrimPrefix(strings.TrimSpace(key), "-")
		if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '/' { // the other way to write it
			key = keyOf(key)
		}
		later = append(later, line{file, strings.TrimSpace(strings.TrimPrefix(procPath(key), "/proc/sys/")), strings.TrimSpace(value)})
	}
	slices.SortStableFunc(later, func(a, b line) int { return strings.Compare(path.Base(a.file), path.Base(b.file)) })
	for _, x := range settings {
		for _, l := range later {
			if ok, err := path.Match(l.pattern, strings.TrimPrefix(procPath(x.Key), "/proc/sys/")); ok && err == nil {
				f[provision.Key("override", x.Key)] = l.file + " " + l.value
			}
		}
	}
}

// want are the settings for this machine: those the kernel has, and those it
// will have with its modules.
func (s sysctl) want(f provision.Facts) []setting {
	var out []setting
	why := ""
	for _, x := range settings {
		if x.Why != "" {
			why = x.Why
		}
		known := f.Get("sysctl", x.Key) != "" || strings.HasPrefix(x.Key, "net.netfilter.")
		if !known || f.Get("fixed", x.Key) != "" {
			continue
		}
		if x.Key == conntrackMaxKey {
			x.Value = strconv.Itoa(conntrackEntries(f))
		}
		x.Why, why = why, ""
		out = append(out, x)
	}
	return out
}

// conntrackEntries is one connection for each 16 KiB of memory, as a power of
// two, which is what the kernel gives a machine of 4 GiB and more than it gives
// others. A full table takes 2 % of the memory.
func conntrackEntries(f provision.Facts) int {
	kib, err := strconv.Atoi(f.Get("kernel", "memory"))
	if err != nil {
		return 1 << 16
	}
	n := 1 << 16
	for n < 1<<20 && kib/16 > n+n/2 {
		n *= 2
	}
	return n
}

// Files are the settings and the modules at boot.
func (s sysctl) Files(f provision.Facts) []provision.File {
	file := s.want(f)
	for i, name := range s.own() {
		x := setting{Key: interfaceKey(name), Value: "0"}
		if i == 0 {
			x.Why = "interfaces that were there before this file is read, and those that come later"
		}
		file = append(file, x)
	}
	files := parsed(sysctlTemplates)
	out := []provision.File{{Path: sysctlFile, Content: files.render("sysctl", file)}}
	var modules []string
	for _, m := range kernelModules {
		if f.Get("module", m) != "" {
			modules = append(modules, m)
		}
	}
	if len(modules) > 0 {
		out = append(out, provision.File{Path: modulesFile, Content: files.render("modules", modules)})
	}
	return out
}

func (s sysctl) Plan(f provision.Facts) ([]provision.Change, error) {
	if bad := s.findings(f); len(bad) > 0 {
		return nil, bad
	}
	out := provision.PlanFiles(f, s.Name(), s.Files(f)...)
	want := s.want(f)
	if f.Get("sysctl", conntrackMaxKey) == "" {
		out = append(out, provision.Change{Step: s.Name(), Target: "nf_conntrack", Action: provision.Run, Why: "is not loaded",
			From: f.Select(provision.Key("sysctl", conntrackMaxKey)), Script: "modprobe nf_conntrack\nmodprobe -q nf_conntrack_ipv4 || :"})
	}
	for _, name := range s.own() {
		if key := interfaceKey(name); f.Get("sysctl", key) != "" {
			want = append(want, setting{Key: key, Value: "0"})
		}
	}
	for _, x := range want {
		key := provision.Key("sysctl", x.Key)
		if f[key] == x.Value {
			continue
		}
		c := provision.Change{Step: s.Name(), Target: x.Key, Action: provision.Update, Why: fmt.Sprintf("is %s, not %s", f[key], x.Value),
			From: f.Select(key), Makes: provision.Facts{key: x.Value},
			Script: "echo " + provision.Quote(x.Value) + " >" + provision.Quote(procPath(x.Key))}
		if f[key] == "" {
			c.Action, c.Why = provision.Create, "becomes "+x.Value
		}
		out = append(out, c)
	}
	return out, nil
}

// own are the interfaces of the pair, in its order.
func (s sysctl) own() []string {
	out := []string{s.pair.Outside.Interface, s.pair.Sync.Interface, s.pair.Inside.Interface}
	for _, v := range s.pair.VLANs {
		out = append(out, v.Interface)
	}
	return out
}

// findings are the files that would undo a setting at the next boot.
func (s sysctl) findings(f provision.Facts) provision.Findings {
	var out provision.Findings
	for _, x := range s.want(f) {
		file, value, ok := strings.Cut(f.Get("override", x.Key), " ")
		if ok && value != x.Value {
			out = append(out, provision.Finding{
				Summary: fmt.Sprintf("%s sets %s to %s at boot, after %s sets it to %s", file, x.Key, value, sysctlFile, x.Value),
				Hint:    "remove that line"})
		}
	}
	return out
}
