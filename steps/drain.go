package steps

import (
	"fmt"
	"strings"
	"time"

	"fwprov/inventories"
	"fwprov/provision"
)

// A drained node does not hold the VIPs and does not take them over: keepalived
// finds a file and is in FAULT as long as it is there. The peer takes over
// within one skew. There are two such files. An apply's is in /run and is gone
// after a reboot; the way back of a change that was not confirmed removes it
// too. An operator's, of fwprov drain, outlives reboots.
//
// Before 2.0 keepalived tracks no files, and under an enforcing SELinux nobody
// has promised that it may read these: there a drained node is one whose
// keepalived is stopped, and its unit does not start while one of the files is
// there.
const (
	drainRun  = provision.RunDir + "/drain"
	drainKept = provision.StateDir + "/drain"
)

// tracksFiles: keepalived has the drain switch in its configuration.
func tracksFiles(f provision.Facts) bool {
	return versionAtLeast(f.Get("version", "keepalived"), "2.0.0") && !enforcing(f)
}

// trackFile is a file whose presence is a fault to keepalived.
type trackFile struct{ Name, Path string }

// trackFiles are those of the configuration, and the keyword that declares
// them, which had another name at first.
func trackFiles(f provision.Facts) (keyword string, files []trackFile) {
	if !tracksFiles(f) {
		return "", nil
	}
	keyword = "track_file"
	if !versionAtLeast(f.Get("version", "keepalived"), "2.1.0") {
		keyword = "vrrp_track_file"
	}
	return keyword, []trackFile{{"drain_apply", drainRun}, {"drain_operator", drainKept}}
}

// drainConditions are the lines of the unit's section [Unit] where keepalived
// does not look at the files itself.
func drainConditions(f provision.Facts) string {
	if tracksFiles(f) {
		return ""
	}
	return "ConditionPathExists=!" + drainRun + "\nConditionPathExists=!" + drainKept + "\n"
}

// drainProbe tells who drains the node.
const drainProbe = "for f in " + drainRun + " " + drainKept + "; do\n\tread -r one who <$f && [ \"$one\" != 0 ] && echo \"$f $who\"\ndone\n"

func parseDrain(out string, f provision.Facts) {
	for _, line := range strings.Split(out, "\n") {
		switch path, who, _ := strings.Cut(line, " "); path {
		case drainRun:
			f[provision.Key("drain", "apply")] = orUnknown(who)
		case drainKept:
			f[provision.Key("drain", "operator")] = orUnknown(who)
		}
	}
}

// drainScript drains a node by a file. It returns when the node has none of the
// VIPs. Where keepalived, as it runs now, does not follow the file, it is
// stopped.
func drainScript(p *inventories.Pair, file, who string) string {
	return holdsAny(p.VIPs()...) + fmt.Sprintf(`umask 077
mkdir -p %[1]s %[2]s
echo %[3]s >%[4]s.new
mv -f %[4]s.new %[4]s
if grep -qsF 'file "%[4]s"' %[5]s; then
	n=0
	while holds && [ $n -lt 20 ]; do
		sleep 0.05
		n=$((n + 1))
	done
	! holds || systemctl stop keepalived.service
else
	systemctl stop keepalived.service
fi
! holds || { echo "the node still has VIPs" >&2; exit 1; }
`, provision.RunDir, provision.StateDir, provision.Quote("1 "+who), file, keepalivedConf)
}

// undrainScript is the way back. The node comes back as standby: nopreempt.
func undrainScript(file string) string {
	return "rm -f " + file + "\nsystemctl is-active --quiet keepalived.service || systemctl start keepalived.service\n"
}

// skew is how long a peer waits that hears that the active node steps down
// (RFC 5798 6.1; version 2 counts whole intervals of a second, RFC 3768): what a
// drain costs. In the form of two heartbeats the slower one decides.
func skew(v inventories.VRRP, peer inventories.Node) time.Duration {
	return slowest(v) * time.Duration(256-peer.Priority) / 256
}

// electionTime is how long it takes a node that hears nobody.
func electionTime(v inventories.VRRP, n inventories.Node) time.Duration {
	return 3*slowest(v) + skew(v, n)
}

func slowest(v inventories.VRRP) time.Duration {
	d := v.AdvertInterval
	for _, h := range v.Heartbeats {
		if h == inventories.HeartbeatOutside {
			d = max(d, v.OutsideAdvertInterval)
		}
	}
	return d
}
