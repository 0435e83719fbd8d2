package steps

import (
	"fmt"
	"strings"

	"fwprov/provision"
)

// What keepalived says of its own instances. It writes it to a file when it is
// sent a signal, if it was built to (Enterprise Linux 8's is not). The file has
// the password in it up to 2.4: only names and states are read, and it is
// removed. A process for which the signal is not blocked, as it is where a
// signalfd awaits it, would die of it.
const vrrpProbe = `pid=$(systemctl show -p MainPID keepalived.service)
pid=${pid#MainPID=}
n=$(keepalived --signum=JSON 2>/dev/null) || exit 0
blocked=$(sed -n 's/^SigBlk:[[:space:]]*......//p' /proc/$pid/status)
case ${n:-x}${blocked:-x} in *[!0-9a-fA-F]*) exit 0 ;; esac
[ $(((0x$blocked >> (n - 1)) & 1)) = 1 ] || exit 0
file=/proc/$pid/root/tmp/keepalived.json
rm -f $file
kill -$n $pid
i=0
while [ $i -lt 20 ]; do
	case $(tail -c 2 $file) in *']'* | *'}'*) break ;; esac
	sleep 0.05
	i=$((i + 1))
done
grep -o '"\(iname\|state\)":"\{0,1\}[A-Za-z0-9_]*' $file
rm -f $file
`

// parseVRRP makes the facts "vrrp NAME" of it: init, backup, master or fault.
func parseVRRP(out string, f provision.Facts) {
	states := map[string]string{"0": "init", "1": "backup", "2": "master", "3": "fault"}
	name := ""
	for _, line := range strings.Split(out, "\n") {
		switch k, v, _ := strings.Cut(strings.ReplaceAll(line, `"`, ""), ":"); {
		case k == "iname":
			name = v
		case k == "state" && name != "" && states[v] != "":
			f[provision.Key("vrrp", name)] = states[v]
			name = ""
		}
	}
}

// drainedBy tells why a node is drained, "" if it is not.
func drainedBy(node string, f provision.Facts) (detail, hint string) {
	if who := f.Get("drain", "operator"); who != "" {
		return "drained by " + who, fmt.Sprintf("fwprov undrain takes %s back", node)
	}
	if who := f.Get("drain", "apply"); who != "" {
		return "drained by an apply of " + who, "the next apply ends it where that one did not live to"
	}
	return "", ""
}
