package steps

import (
	_ "embed"
	"strings"

	"fwprov/provision"
)

// The fail-over script tells conntrackd what the node has become. The package
// of conntrackd has one among its documentation; it is copied to where an
// operator looks for it. Where the documentation was not installed, our own
// takes its place. Under SELinux keepalived may run neither there: our own goes
// to the folder that the policy has for its scripts.
//
// The packaged script starts a second conntrackd outside systemd when it finds
// none. The copy differs in that one line: it starts the unit.
//
// What the copy contains is known only once the package is there, so it is not
// planned as a file but by the fact "failover script": "ready" if it is what it
// should be, whichever that is on this machine, "changed" if not.

//go:embed primary-backup.sh
var ownScript string

const (
	copiedScript   = "/etc/conntrackd/primary-backup.sh"
	labelledScript = "/usr/libexec/keepalived/primary-backup.sh"

	// packagedScripts is a list of shell patterns.
	packagedScripts = "/usr/share/doc/conntrack-tools*/doc/sync/primary-backup.sh" +
		" /usr/share/doc/conntrackd/examples/sync/primary-backup.sh"

	// scriptEdit is a program for sed.
	scriptEdit = `s#\$CONNTRACKD_BIN -C \$CONNTRACKD_CONFIG -d$#systemctl start conntrackd.service#`
)

func enforcing(f provision.Facts) bool { return f.Get("os", "selinux") == "enforcing" }

// failoverScript is the path of the script that keepalived runs.
func failoverScript(f provision.Facts) string {
	if enforcing(f) {
		return labelledScript
	}
	return copiedScript
}

// findPackaged sets doc to the packaged script, "" if there is none.
const findPackaged = "doc=\nfor f in " + packagedScripts + "; do\n\tif [ -f \"$f\" ]; then doc=$f; fi\ndone\n"

func failoverProbe() string {
	return findPackaged +
		"[ -n \"$doc\" ] && echo \"doc $doc\"\n" +
		"read -r from to <" + copyRecord + " && echo \"copied $from $to\"\n"
}

// copyRecord has the hash of what the script was copied from, "own" for our own, and
// that of the copy.
const copyRecord = provision.StateDir + "/primary-backup"

func parseFailover(out string, f provision.Facts) error {
	content, mode, _ := strings.Cut(f.Get("file", copiedScript), " ")
	source, record := "own", ""
	for _, line := range strings.Split(out, "\n") {
		switch what, value, _ := strings.Cut(line, " "); {
		case what == "doc" && strings.HasPrefix(value, "/"):
			f[provision.Key("doc", "primary-backup.sh")] = value
			source, _, _ = strings.Cut(f.Get("file", value), " ")
		case what == "copied":
			record = value
		}
	}
	switch {
	case content == "":
	case record == source+" "+content && mode == "0755 0:0":
		f[provision.Key("failover", "script")] = "ready"
	default:
		f[provision.Key("failover", "script")] = "changed"
	}
	return nil
}

// planFailover wants the copy where it belongs, and nowhere else.
func planFailover(f provision.Facts, step string) []provision.Change {
	fact, managed := provision.Key("failover", "script"), provision.Key("managed", "copy", copiedScript)
	c := provision.Change{Step: step, Target: copiedScript, From: f.Select(fact, managed)}
	switch {
	case !enforcing(f) && (f[fact] != "ready" || f[managed] == ""):
		c.Action, c.Why = provision.Create, "copied from the documentation of the package, or our own where it has none"
		if f[fact] != "" {
			c.Action = provision.Update
		}
		if f[fact] == "changed" {
			c.Why = "is not the packaged one, or has another mode or owner"
		}
		c.Makes = provision.Facts{fact: "ready", managed: step}
		c.Script = copyScript()
	case enforcing(f) && f[managed] != "":
		c.Action, c.Why, c.Remove = provision.Delete, "SELinux does not let keepalived run it there", copiedScript
		c.Makes = provision.Facts{fact: "", managed: ""}
	default:
		return nil
	}
	return []provision.Change{c}
}

func copyScript() string {
	return findPackaged +
		"mkdir -p /etc/conntrackd\n" +
		"new=$(mktemp " + copiedScript + ".XXXXXX)\n" +
		"trap 'rm -f \"$new\"' EXIT\n" +
		"if [ -n \"$doc\" ]; then\n\tsed " + provision.Quote(scriptEdit) + " \"$doc\" >\"$new\"\n" +
		"else\n\tprintf %s " + provision.Quote(ownScript) + " >\"$new\"\nfi\n" +
		"chown 0:0 \"$new\"\nchmod 0755 \"$new\"\n" +
		"mv -f \"$new\" " + copiedScript + "\n" +
		"mkdir -p " + provision.StateDir + "\nfrom=own\n[ -z \"$doc\" ] || from=$(sha256sum <\"$doc\")\nto=$(sha256sum <" + copiedScript + ")\n" +
		"echo \"${from%% *} ${to%% *}\" >" + copyRecord + "\n" +
		"! command -v restorecon >/dev/null || restorecon " + copiedScript + "\n"
}
