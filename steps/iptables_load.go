package steps

import (
	"strings"

	"fwprov/provision"
)

// Whether the kernel has the rules of a file cannot be seen by comparing the
// two: iptables writes rules differently from how it reads them. So what the
// kernel made of a file is recorded when it is loaded, under the file's hash,
// and compared with what the kernel has now.
//
// A record's first line is the hash, the rest the tables as saveRules prints
// them. It holds across reboots: the same file makes the same rules.

const recordPrefix = provision.StateDir + "/rules." // then v4 or v6, then .loaded

// saveRules defines a shell function that prints the tables fwprov rules over,
// without counters and comments. $1 is iptables-save or ip6tables-save.
const saveRules = `tables() { case $1 in ip6*) echo filter ;; *) echo raw mangle filter ;; esac; }
saved() {
	for t in $(tables $1); do $1 -t $t; done | sed -e '/^#/d' -e 's/ \[[0-9]*:[0-9]*\]$//'
}
`

// saveAll prints all tables at once, as they come. If that is what it was after the
// rules were loaded, nothing else has to be looked at: the other records are for a
// kernel that lists the tables in another order, and for what others add.
const saveAll = `{ iptables-save; ip6tables-save; } | sed -e '/^#/d' -e 's/ \[[0-9]*:[0-9]*\]$//'`

const allRecord = recordPrefix + "all.loaded"

// rulesProbe prints "rules FAMILY HASH", or "rules FAMILY changed" and how.
const rulesProbe = saveRules + `[ -e /proc/net/if_inet6 ] && echo "ipv6 yes"
known=
` + saveAll + ` | cmp -s - ` + allRecord + ` && known=yes
for family in v4 v6; do
	record=` + recordPrefix + `$family.loaded
	[ -f $record ] || continue
	if [ -n "$known" ]; then
		IFS= read -r hash <$record
		echo "rules $family $hash"
		continue
	fi
	case $family in v4) now=$(saved iptables-save) ;; *) now=$(saved ip6tables-save) ;; esac
	IFS= read -r hash <$record
	if [ "$now" = "$(sed 1d $record)" ]; then
		echo "rules $family $hash"
	else
		echo "rules $family changed"
		{ echo "$hash"; printf '%s\n' "$now"; } | diff -U 1 --label loaded --label kernel $record - | head -n 60 | cut -c 1-300 | sed "s/^/drift $family /"
	fi
done
`

// planLoad wants the kernel to have the rules of the files.
func (s iptables) planLoad(f provision.Facts) (provision.Change, bool) {
	want := map[string]string{"v4": provision.Hash(s.rulesV4(f))}
	families := []string{"v4"}
	if hasIPv6(f) {
		families = append(families, "v6")
		want["v6"] = provision.Hash(s.rulesV6(f))
	}
	c := provision.Change{Target: "rules in the kernel", Action: provision.Run, Risky: true,
		From: provision.Facts{}, Makes: provision.Facts{}}
	changed := false
	for _, family := range families {
		key, drift := provision.Key("rules", family), provision.Key("drift", "rules", family)
		c.From[key], c.Makes[key], c.Makes[drift] = f[key], want[family], ""
		if f[key] != want[family] {
			changed = true
		}
		if f[key] == "changed" {
			c.Why = "were changed by hand"
			c.Diff += f[drift]
		}
	}
	if !changed {
		return provision.Change{}, false
	}
	if c.Why == "" {
		c.Why = "load the ruleset files"
	}
	c.Script = loadRules(f, families)
	return c, true
}

// loadRules is the script that loads the files and records what became of them.
// iptables-restore replaces a table in one piece, but one table after the
// other: if one fails, all are put back as they were.
func loadRules(f provision.Facts, families []string) string {
	var b strings.Builder
	b.WriteString(saveRules)
	b.WriteString("umask 077\nmkdir -p " + provision.StateDir + "\nold=$(mktemp -d)\ntrap 'rm -rf \"$old\"' EXIT\n" +
		// Older versions have no lock to wait for.
		"wait=\ncase $(iptables-restore --help 2>&1 || true) in *--wait*) wait=--wait=10 ;; esac\n" +
		// A table that was not there is put back as an empty one.
		"snapshot() {\n\tfor t in $(tables $1); do\n\t\t$1-save -t $t >\"$old/$1.$t\" || true\n" +
		"\t\tgrep -q '^COMMIT' \"$old/$1.$t\" || printf '*%s\\nCOMMIT\\n' $t >\"$old/$1.$t\"\n\tdone\n}\n" +
		"undo() {\n\tfor t in \"$old\"/*; do\n\t\tt=${t##*/}\n\t\t${t%.*}-restore $wait <\"$old/$t\" || true\n\tdone\n" +
		"\techo \"the rules are as they were before\" >&2\n\texit 1\n}\n")
	b.WriteString(takeOver)
	for _, family := range families {
		b.WriteString("snapshot " + tool(family) + "\n")
	}
	for _, family := range families {
		b.WriteString(tool(family) + "-restore $wait <" + rulesPath(f, family) + " || undo\n")
	}
	b.WriteString(tookOver)
	for _, family := range families {
		record := recordPrefix + family + ".loaded"
		b.WriteString("{ sha256sum <" + rulesPath(f, family) + " | cut -d ' ' -f 1; saved " + tool(family) + "-save; } >" + record + ".new\n" +
			"mv -f " + record + ".new " + record + "\n")
	}
	b.WriteString(saveAll + " >" + allRecord + ".new\nmv -f " + allRecord + ".new " + allRecord + "\n")
	return b.String()
}

func tool(family string) string {
	if family == "v6" {
		return "ip6tables"
	}
	return "iptables"
}

// With the first rule that asks for the state of a connection the kernel begins
// to keep states, where nothing asked before. Connections that go on, ours to
// the node among them, are then taken over by their next packet, but only if
// the kernel is not strict; the line that is printed is such a packet. Where it knew
// of ours before there is nothing to take over.
const (
	looseFile = "/proc/sys/net/netfilter/nf_conntrack_tcp_loose"

	takeOver = `strict=
kept() {
	set -- ${SSH_CONNECTION-}
	[ $# -eq 4 ] && conntrack -G -p tcp -s $1 --sport $2 -d $3 --dport $4 >/dev/null 2>&1
}
if [ "$(cat ` + looseFile + ` 2>/dev/null)" = 0 ] && ! kept; then
	echo 1 2>/dev/null >` + looseFile + ` && strict=yes
fi
`
	tookOver = `if [ -n "$strict" ]; then
	echo "connections that go on are taken over"
	sleep 0.5
	echo 0 >` + looseFile + `
fi
`
)
