package steps

import (
	"strings"

	"fwprov/provision"
)

// reread lets the network manager know of the files before interfaces come and
// go, lest it configures a new one in its own way. There is none to tell with
// ifupdown and ifcfg.
func (s interfaces) reread(f provision.Facts, changes []provision.Change, late bool) []provision.Change {
	c := provision.Change{Step: s.Name(), Action: provision.Run, Why: "reads its files again", Late: late}
	switch f.Get("os", "network") {
	case "networkmanager":
		c.Target, c.Script = "NetworkManager.service", "nmcli connection reload"
		if !late {
			c.Script += "\n" + nmSettled(changes)
		}
	case "networkd":
		c.Target, c.Script = networkdService, "networkctl reload"
		if !versionAtLeast(f.Get("version", "systemd"), "244") {
			c.Script = "systemctl restart " + networkdService
		}
		c.Risky = true // it may configure the outside interface anew
	default:
		return nil
	}
	return []provision.Change{c}
}

// networkdOwed restarts systemd-networkd if it does not run with our settings:
// it would remove the rule of table 100 when it configures an interface.
func (s interfaces) networkdOwed(f provision.Facts) []provision.Change {
	if f.Get("os", "network") != "networkd" {
		return nil
	}
	key := provision.Key("loaded", networkdService)
	want := provision.LoadedHash(parsed(networkdTemplates).render("daemon", nil))
	if f[key] == want {
		return nil
	}
	return []provision.Change{{Step: s.Name(), Target: networkdService, Action: provision.Run, Why: "runs without its new settings",
		From: f.Select(key), Makes: provision.Facts{key: want}, Risky: true,
		Script: "systemctl restart " + networkdService}}
}

// nmSettled waits until NetworkManager is done with the interfaces of changes:
// while it activates one it takes addresses away. It makes VLANs that it learns
// of, but not those it had before and that somebody deleted: these are not
// waited for as long.
func nmSettled(changes []provision.Change) string {
	var names []string
	for _, c := range changes {
		names = append(names, provision.Quote(c.Target))
	}
	return `n=0
while [ $n -lt 100 ]; do
	s=$(nmcli -t -f DEVICE,STATE device)
	busy=
	for d in ` + strings.Join(names, " ") + `; do
		case "
$s" in
		*"
$d:connected"* | *"
$d:unmanaged"*) ;;
		*) if [ $n -lt 20 ] || [ -e "/sys/class/net/$d" ]; then busy=1; break; fi ;;
		esac
	done
	[ -n "$busy" ] || break
	n=$((n + 1))
	sleep 0.1
done`
}
