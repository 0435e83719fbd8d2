package steps

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"fwprov/inventories"
	"fwprov/provision"
)

// What only shows while one watches: adverts that come in, packets of conntrackd's,
// answers to pings, and a connection that the peer gets to know. All of it goes on
// at once, and ends as soon as everything was seen.

// Addresses of the canary, for documentation (RFC 5737): nobody's traffic has them.
// Each node has a source of its own.
const (
	canarySource = "192.0.2."
	canaryTarget = "198.51.100.1"
)

// maxLookedThrough bounds how many connections are looked through for the canary.
const maxLookedThrough = 20000

// arpings bounds how many VIPs are asked for with arping: each is a process.
const arpings = 64

// patience is how long the live look lasts at most. A standby that hears no advert
// for an election's time would take over if this heartbeat were the only one;
// conntrackd tells its peer once a second that it is there.
func (v verify) patience() time.Duration {
	d := 4 * time.Second
	for _, n := range v.pair.Nodes {
		d = max(d, electionTime(v.pair.VRRP, n))
	}
	return d
}

// liveLook prints a line for everything that was seen:
//
//	ping ADDRESS          it answered
//	noping                there is no ping here
//	back                  the gateway answered an inside VIP
//	sync N                of syncPings pings the peer answered N
//	adverts NAME N        adverts that came in on an interface while it was looked
//	heard N               packets of conntrackd's that came in while it was looked
//	canary sent|asked|seen
//	unique ADDRESS        nobody else answers for this VIP of ours
//	twice ADDRESS         somebody does
//	neigh ...             under which address on the wire a VIP answered
func (v verify) liveLook() look {
	var b strings.Builder
	p := v.pair
	b.WriteString("addrs=$(ip -4 -o addr show)\npeer=\nvips='")
	for _, vip := range p.VIPs() {
		b.WriteString(" " + vip.Addr.String())
	}
	b.WriteString("'\n")
	for i, n := range p.Nodes {
		fmt.Fprintf(&b, "case $addrs in *' %s/'*) peer=%s mine=%s%d theirs=%s%d ;; esac\n",
			n.Sync, p.Peer(n.Name).Sync, canarySource, i+1, canarySource, 2-i)
	}
	b.WriteString(v.pingScript())
	b.WriteString(v.arpingScript())
	b.WriteString(v.watchScript())
	b.WriteString("wait\nip -4 neigh show | grep -F -e \"$(printf '%s dev \\n' $vips)\" | sed 's/^/neigh /'\n")
	return look{b.String(), v.parseLive}
}

const syncPings = 20

// pingScript pings every VIP and the gateway side by side, and the gateway once
// more from an inside VIP: its answer comes back only if it knows the way.
func (v verify) pingScript() string {
	back := ""
	if len(v.pair.VLANs) > 0 {
		back = fmt.Sprintf("\t( ping -n -q -c 2 -i 0.2 -W 1 -I %s %s >/dev/null 2>&1 && echo back ) &\n", v.pair.VLANs[0].VIP, v.pair.Outside.Gateway)
	}
	return "if command -v ping >/dev/null; then\n" + back + "\tfor a in " + v.pair.Outside.Gateway.String() +
		" $vips; do ( ping -n -q -c 2 -i 0.2 -W 1 $a >/dev/null 2>&1 && echo \"ping $a\" ) & done\n" +
		fmt.Sprintf("\t[ -z \"$peer\" ] || ping -n -q -c %d -i 0.05 -W 1 $peer 2>/dev/null | sed -n 's/.* transmitted, \\([0-9]*\\) .*received.*/sync \\1/p' &\n", syncPings) +
		"else\n\techo noping\nfi\n"
}

// arpingScript asks, for the VIPs that this node has, whether somebody else has
// them too: an ARP probe (RFC 5227) comes from no address, so that nobody learns
// from it. Only the arping of iputils does that.
func (v verify) arpingScript() string {
	var vips []string
	for i, vip := range v.pair.VIPs() {
		if i < arpings {
			vips = append(vips, vip.Interface+"/"+vip.Addr.String())
		}
	}
	return "case $(arping -V 2>&1) in *iputils*)\n\tfor a in " + strings.Join(vips, " ") + `; do
		case $addrs in *" ${a#*/}/"*) ;; *) continue ;; esac
		(
			out=$(arping -D -c 1 -w 1 -I ${a%/*} ${a#*/} 2>/dev/null)
			case $out in *'eceived 0 '*) echo "unique ${a#*/}" ;; *'reply from'*) echo "twice ${a#*/}" ;; esac
		) &
	done ;;
esac
`
}

// watchScript counts the adverts that the rules let in, and waits for what has to
// come. The holder of the VIPs, or who becomes it meanwhile, gets no adverts. The canary
// is put into the table by hand, without a packet, where there is room, and is gone
// after ten seconds. A cache may keep one that is gone: only a young one tells of
// the path.
func (v verify) watchScript() string {
	ftfw := v.pair.StateSync.Mode == inventories.ModeFTFW
	steps := int(v.patience() / (250 * time.Millisecond))
	return fmt.Sprintf(`case $addrs in *' %[1]s/'*) holder=yes ;; *) holder= ;; esac
%[6]sstats() { timeout 3 conntrackd -s | sed -n -e 's/.*Pckts sent *\([0-9]*\) Pckts recv.*/recv \1/p' -e 's/^current active connections:[^0-9]*//p'; }
first=$(adverts)
before=$(stats)
ftfw=%[2]s
set -- $(cat /proc/sys/net/netfilter/nf_conntrack_count /proc/sys/net/netfilter/nf_conntrack_max)
count=${1:-0} max=${2:-0}
looked=
if [ $ftfw = yes ] && [ -n "$before" ] && [ -n "$peer" ] && command -v conntrack >/dev/null; then
	if [ $((count + count / 9)) -lt $max ]; then
		conntrack -I -p udp -s $mine -d %[3]s --sport $((1024 + $$ %% 60000)) --dport 9 -t 10 >/dev/null 2>&1 && echo "canary sent"
	fi
	set -- $before
	[ ${2:-0} -le %[4]d ] && looked=yes && echo "canary asked"
fi
n=0
while [ $n -lt %[5]d ]; do
	sleep 0.25
	n=$((n + 1))
	missing=
	[ -n "$holder" ] || case $(ip -4 -o addr show) in *' %[1]s/'*) holder=yes ;; esac
	now=$(adverts)
	if [ -z "$holder" ] && [ -n "$first" ] && printf '%%s\n' "$now" | grep -qxF -e "$first"; then missing=yes; fi
	if [ $ftfw = yes ] && [ -n "$before" ]; then
		after=$(stats)
		[ "${after##* }" != "${before##* }" ] || missing=yes
	fi
	if [ -n "$looked" ]; then
		if timeout 3 conntrackd -e | grep -q " src=$theirs dst=%[3]s .*active since [0-9]s"; then
			echo "canary seen"
			looked=
		else
			missing=yes
		fi
	fi
	[ -n "$missing" ] || break
done
printf '%%s\n' "$now" | while read -r name new; do
	old=$(printf '%%s\n' "$first" | sed -n "s/^$name //p")
	[ -z "$name" ] || [ -z "$old" ] || echo "adverts $name $((new - old))"
done
[ $ftfw != yes ] || [ -z "$before" ] || echo "heard $((${after##* } - ${before##* }))"
`, v.pair.Outside.VIP, yes(ftfw), canaryTarget, maxLookedThrough, steps, advertsScript)
}

// advertsScript defines a shell function that prints how many adverts the rules have
// let in on each heartbeat. There may be a rule for one that this keepalived cannot
// have.
const advertsScript = `beats=" $(sed -n 's/^[[:space:]]*interface[[:space:]]*\([^[:space:]]*\).*/\1/p' ` + keepalivedConf + ` | tr '\n' ' ')"
adverts() {
	iptables-save -c -t filter | sed -n 's/^\[\([0-9]*\):.* -i \([^ ]*\) .*-p \(vrrp\|112\) .*/\2 \1/p' | while read -r name n; do
		case $beats in *" $name "*) echo "$name $n" ;; esac
	done
}
`

// settleScript waits, where keepalived was started in the last ten seconds, until this
// node holds the VIPs or hears another that does, and its HAProxy has found the other:
// what is looked at before would have to be looked at again.
func (v verify) settleScript() string {
	found := ""
	if len(v.pair.Services) > 0 {
		found = "[ -n \"$(" + strings.TrimSpace(peersScript) + ")\" ] && "
	}
	return "at=$(stat -c %Y " + provision.LoadedDir + "/" + startRecord("keepalived.service") + ") && [ $(($(date +%s) - at)) -lt 10 ] || exit 0\n" +
		advertsScript + fmt.Sprintf(`first=$(adverts)
elected() {
	case $(ip -4 -o addr show) in *' %s/'*) return 0 ;; esac
	[ "$(adverts)" != "$first" ]
}
n=0
while [ $n -lt 80 ]; do
	%selected && break
	sleep 0.1
	n=$((n + 1))
done
`, v.pair.Outside.VIP, found)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// parseLive reads the lines of liveLook. What does not look as told there is
// nothing.
func (v verify) parseLive(out string, f provision.Facts) error {
	vips := map[string]bool{}
	for _, vip := range v.pair.VIPs() {
		vips[vip.Addr.String()] = true
	}
	for _, line := range strings.Split(out, "\n") {
		w := strings.Fields(line)
		switch {
		case len(w) == 1 && (w[0] == "noping" || w[0] == "back"):
			f[provision.Key("ping", w[0])] = "yes"
		case len(w) == 2 && w[0] == "ping" && (vips[w[1]] || w[1] == v.pair.Outside.Gateway.String()):
			f[provision.Key("ping", w[1])] = "yes"
		case len(w) == 2 && w[0] == "sync" && isCount(w[1]):
			f[provision.Key("ping", "sync")] = w[1]
		case len(w) == 2 && w[0] == "heard" && isCount(w[1]):
			f[provision.Key("sync", "heard")] = w[1]
		case len(w) == 3 && w[0] == "adverts" && isCount(w[2]):
			f[provision.Key("adverts", w[1])] = w[2]
		case len(w) == 2 && w[0] == "canary" && (w[1] == "sent" || w[1] == "asked" || w[1] == "seen"):
			f[provision.Key("canary", w[1])] = "yes"
		case len(w) == 2 && (w[0] == "unique" || w[0] == "twice") && vips[w[1]]:
			f[provision.Key("vip", w[1])] = w[0]
		case len(w) >= 7 && w[0] == "neigh" && vips[w[1]]:
			parseNeigh(w[1:], f)
		}
	}
	return nil
}

// isCount reports whether s is a number that a counter can have.
func isCount(s string) bool {
	n, err := strconv.ParseInt(s, 10, 64)
	return err == nil && n >= 0
}

// adverts checks that a node hears its peer's adverts on every heartbeat. The
// holder hears none, and while nobody holds the VIPs there is nobody to hear.
func (v verify) adverts(n inventories.Node, f, peer provision.Facts) []provision.Check {
	if v.holdsAny(f) || !v.holdsAll(peer) || len(f.Names("adverts")) == 0 {
		return nil
	}
	var silent, heard []string
	for _, name := range f.Names("adverts") {
		if f.Get("adverts", name) == "0" {
			silent = append(silent, name)
		} else {
			heard = append(heard, name)
		}
	}
	c := provision.Check{Name: "adverts", Node: n.Name, OK: len(silent) == 0, Detail: "come in on " + strings.Join(heard, ", ")}
	if !c.OK {
		c.Detail = fmt.Sprintf("none of %s in %s on %s", v.pair.Peer(n.Name).Name, v.patience().Round(100*time.Millisecond), strings.Join(silent, ", "))
		c.Hint = fmt.Sprintf("tcpdump -ni %s proto 112 on both nodes", silent[0])
	}
	return []provision.Check{c}
}

func (v verify) holdsAny(f provision.Facts) bool {
	for _, vip := range v.pair.VIPs() {
		if holds(f, vip) {
			return true
		}
	}
	return false
}
