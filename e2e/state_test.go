package e2e

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// stateScript prints all of a node that an apply may change, byte for byte: files
// with their modes, the kernel's rules, routes and addresses, sysctls, and what
// systemd makes of the units. Left out are the VIPs, which are the pair's, the
// history, what the way back needs for itself, and the metrics of networks, which
// NetworkManager counts up.
const stateScript = `
exec 2>/dev/null
own='-path /var/lib/fwprov/rollback -o -path /var/lib/fwprov/rollback.new -o -path /var/lib/fwprov/history -o -name fwprov-rollback-boot*.service'
volatile='-path /etc/.updated -o -path /etc/.pwd.lock -o -path /etc/resolv.conf'
echo '== folders'
find /etc -type d -printf '%m %U:%G %p\n' | sort -k 3
echo '== files'
find /etc /var/lib/fwprov \( $own -o $volatile \) -prune -o \( -type f -o -type l \) -printf '%m %U:%G %p %l\n' | sort -k 3
echo '== contents'
find /etc /var/lib/fwprov \( $own -o $volatile \) -prune -o -type f -print0 | sort -z | xargs -0 sha256sum
echo '== staging'
ls -d /tmp/fwprov.*
echo '== rules'
for tool in iptables ip6tables; do $tool-save | sed -e '/^#/d' -e 's/ \[[0-9]*:[0-9]*\]$//' | sed "s/^/$tool /"; done
nft list tables | sort | while read -r table; do nft -s list $table; done | sed 's/^/nft /'
echo '== network'
ls /sys/class/net | sed 's/^/link /'
ip -4 rule show | sed 's/^/rule /'
ip -4 route show table main | sed '/ proto kernel /s/ metric [0-9]*//' | sort | sed 's/^/route /'
ip -4 route show table 100 | sed 's/^/table 100 /'
ip -4 -o addr show | while read -r _ dev _ addr _; do case $addr in VIPS) ;; *) echo "addr $dev $addr" ;; esac; done | sort
echo '== sysctl'
sysctl -a | grep -E '^net\.(ipv4\.(conf\.|ip_forward|ip_nonlocal|tcp_syncookies|neigh\.default\.gc_thresh)|ipv6\.conf\.(all|default)\.|netfilter\.nf_conntrack_(max|tcp_loose))' | grep -v stable_secret
echo '== units'
for u in conntrackd haproxy keepalived iptables ip6tables netfilter-persistent firewalld fwprov-divert; do
	echo $u $(systemctl show -p ActiveState -p UnitFileState $u.service)
done
echo '== loaded'
for d in conntrackd/conntrackd.conf haproxy/haproxy.cfg keepalived/keepalived.conf; do
	u=${d%/*}
	if systemctl -q is-active $u; then
		read -r have _ </run/fwprov/loaded/$u.service
		[ "$have" = "$(sha256sum </etc/$d | cut -d ' ' -f 1)" ] && echo $u runs what is on disk || echo $u runs something else
	fi
done
`

// state is what stateScript finds on a node.
func (r *rig) state(node string) string {
	r.t.Helper()
	vips := []string{"10.10.*.254/*"} // of VLANs that are on their way out too
	for _, v := range r.pair.VIPs() {
		vips = append(vips, v.Addr.String()+"/*")
	}
	return r.on(node, strings.Replace(stateScript, "VIPS", strings.Join(append(vips, "169.254.77.1/*"), "|"), 1))
}

// states are those of both nodes.
func (r *rig) states() map[string]string {
	r.t.Helper()
	out := map[string]string{}
	for _, n := range r.pair.Nodes {
		out[n.Name] = r.state(n.Name)
	}
	return out
}

// differs is how two states differ, "" if they do not.
func differs(a, b string) string {
	return strings.Join(diffLines(sections(a), sections(b)), "\n")
}

// rebooted is a state without what a boot makes anew and nobody asked for: the
// settings of single interfaces, which are those of "all" or "default" anyway.
func rebooted(s string) string {
	var out []string
	for line := range strings.Lines(s) {
		if name := oneInterface.FindStringSubmatch(line); name == nil || name[1] == "all" || name[1] == "default" {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

var oneInterface = regexp.MustCompile(`^net\.ipv4\.conf\.([^.]*)\.(?:[^s]|se[^n])`)

// diffLines lists what only one of two states has, by section.
func diffLines(a, b map[string][]string) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(a)) {
		for _, l := range a[name] {
			if !slices.Contains(b[name], l) {
				out = append(out, name+": - "+l)
			}
		}
		for _, l := range b[name] {
			if !slices.Contains(a[name], l) {
				out = append(out, name+": + "+l)
			}
		}
		if len(out) == 0 && !slices.Equal(a[name], b[name]) {
			out = append(out, name+": the same lines in another order:\n"+strings.Join(a[name], "\n")+"\n---\n"+strings.Join(b[name], "\n"))
		}
	}
	return out
}

func sections(s string) map[string][]string {
	out := map[string][]string{}
	name := ""
	for line := range strings.Lines(s) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "== "); ok {
			name = rest
			continue
		}
		out[name] = append(out[name], line)
	}
	return out
}

// same fails the test unless both nodes are as they were.
func (r *rig) same(what string, before map[string]string) {
	r.t.Helper()
	for _, n := range r.pair.Nodes {
		if d := differs(before[n.Name], r.state(n.Name)); d != "" {
			r.t.Errorf("%s: %s is not as before (-before +now):\n%s", what, n.Name, d)
		}
	}
}

// pending says which nodes have a change that is neither confirmed nor undone.
func (r *rig) pending() string {
	var out []string
	for _, n := range r.pair.Nodes {
		look, ok := r.try(n.Name, "for f in /var/lib/fwprov/rollback/pending /run/fwprov/going-back; do [ ! -e $f ] || echo $f; done")
		if !ok || look != "" {
			out = append(out, fmt.Sprintf("%s: %s", n.Name, look))
		}
	}
	return strings.Join(out, "; ")
}
