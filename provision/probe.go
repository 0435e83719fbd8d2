package provision

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// unitProperties are asked of every unit, and become facts of that name.
var unitProperties = []string{"LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload"}

// joined is the one command that looks at a node, and how to read its answer.
type joined struct {
	mark   string // starts every line that separates sections
	units  []string
	steps  []namedProbe
	script string
	once   map[string]string // by step, what Once printed the first time; nil: it is to run now
}

type namedProbe struct {
	name string
	Probe
}

// join makes one command of the probes. The mark separates the sections of the
// output; it is random, so that nothing on the node can print it by accident.
func join(mark string, probes []namedProbe, once map[string]string) joined {
	j := joined{mark: "@" + mark + " ", steps: probes, once: once}
	var files []string
	for _, p := range probes {
		files = append(files, p.Files...)
		j.units = append(j.units, p.Units...)
	}
	slices.Sort(files)
	slices.Sort(j.units)
	files, j.units = slices.Compact(files), slices.Compact(j.units)

	var b strings.Builder
	section := func(name string) { fmt.Fprintf(&b, "printf '\\n%s%s\\n'\n", j.mark, name) }
	b.WriteString(scriptHead + "exec 2>/dev/null </dev/null\n")
	for _, p := range probes {
		if p.Wait != "" {
			b.WriteString("(\n" + strings.TrimRight(p.Wait, "\n") + "\n) >/dev/null\n")
		}
	}
	section("manifest")
	b.WriteString(manifestScript)
	section("stat")
	b.WriteString("files() {\n\tset -f\n\tIFS='\n'\n\tset -- \"$@\" $managed\n\tset +f\n\tunset IFS\n" +
		"\tstat -c '%Y %a %u:%g %F|%n' -- " + clockFile + " \"$@\"\n")
	b.WriteString("\tprintf '\\n" + j.mark + "sums\\n'\n\tsha256sum -- \"$@\"\n}\n")
	b.WriteString("files " + strings.Join(files, " ") + "\n")
	section("rollback")
	b.WriteString(lostScript)
	section("loaded")
	b.WriteString("for f in " + LoadedDir + "/*; do h=; read -r h _ <\"$f\" && echo \"${f##*/} $h\"; done\n")
	if len(j.units) > 0 {
		section("units")
		b.WriteString("systemctl show")
		for _, p := range unitProperties {
			b.WriteString(" -p " + p)
		}
		b.WriteString(" -- " + strings.Join(j.units, " ") + "\n")
	}
	for i, p := range probes {
		if p.Script != "" {
			section("step " + p.name)
			fmt.Fprintf(&b, "step%d() {\n%s\n}\nstep%[1]d\n", i, strings.TrimRight(p.Script, "\n"))
		}
		if p.Once != "" && once == nil {
			section("once " + p.name)
			fmt.Fprintf(&b, "once%d() {\n%s\n}\nonce%[1]d\n", i, strings.TrimRight(p.Once, "\n"))
		}
	}
	section("end")
	j.script = b.String()
	return j
}

// manifestScript prints the manifest and sets managed to the files in it. The shell
// reads the beginning by itself, which takes no process but a system call a byte; a
// long rest is read at once.
const manifestScript = `managed= n=0
note() {
	case $1 in 'file	'*) set -- "${1#file	}"; managed="$managed
${1%%	*}" ;; esac
}
{
	while [ $n -lt 100 ] && IFS= read -r l; do
		printf '%s\n' "$l"
		note "$l"
		n=$((n + 1))
	done
	if [ $n -ge 100 ]; then
		rest=$(cat)
		printf '%s\n' "$rest"
		set -f
		IFS='
'
		for l in $rest; do note "$l"; done
		set +f
		unset IFS
	fi
} <` + Manifest + "\n"

// scriptHead opens every script that runs on a node: tools speak English, and
// an ordinary user's sudo finds those of the administrator.
const scriptHead = "LC_ALL=C\nPATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin\nexport LC_ALL PATH\n"

// parse reads the output of the joined command, and sets once if it had to run.
func (j *joined) parse(out string) (Facts, error) {
	sections, err := split(j.mark, out)
	if err != nil {
		return nil, err
	}
	f := Facts{}
	parseManifest(sections["manifest"], f)
	parseFiles(sections["stat"], sections["sums"], f)
	parseLost(sections["rollback"], f)
	for _, line := range lines(sections["loaded"]) {
		if unit, hash, ok := strings.Cut(line, " "); ok && unit != "*" {
			f[Key("loaded", unit)] = hash
		}
	}
	if len(j.units) > 0 {
		if err := parseUnits(j.units, sections["units"], f); err != nil {
			return nil, err
		}
	}
	if j.once == nil {
		j.once = map[string]string{}
		for _, p := range j.steps {
			j.once[p.name] = sections["once "+p.name]
		}
	}
	for _, p := range j.steps {
		if p.Parse == nil {
			continue
		}
		said := sections["step "+p.name]
		if p.Once != "" {
			said += "\n" + j.once[p.name]
		}
		if err := p.Parse(said, f); err != nil {
			return nil, fmt.Errorf("read the probe of step %s: %w", p.name, err)
		}
	}
	return f, nil
}

// clockFile is modified whenever somebody looks: it tells the time without a process
// of its own (proc(5): it is made for the process that reads it).
const clockFile = "/proc/self/stat"

// clockNow is only known between parsing a probe and comparing clocks.
const clockNow = "clock now"

// compareClocks makes the time of a node the fact how far it is off, and tells the
// date if it cannot be right.
func compareClocks(f Facts, now time.Time) {
	seconds, err := strconv.ParseInt(f[clockNow], 10, 62)
	delete(f, clockNow)
	if err != nil {
		return
	}
	if t := time.Unix(seconds, 0).UTC(); t.Year() < 2024 || t.Year() > 2100 {
		f["clock date"] = t.Format(time.DateOnly)
	}
	if hours := int64(time.Unix(seconds, 0).Sub(now) / time.Hour); hours != 0 {
		f["clock off"] = fmt.Sprintf("%dh", hours)
	}
}

// split cuts the output at its marked lines. It fails if the end is missing:
// a truncated answer must not be taken for a machine without files.
func split(mark, out string) (map[string]string, error) {
	sections := map[string]string{}
	name := ""
	for i, chunk := range strings.Split(out, "\n"+mark) {
		if i == 0 {
			continue
		}
		head, body, _ := strings.Cut(chunk, "\n")
		name = head
		sections[name] = body
	}
	if name != "end" {
		return nil, fmt.Errorf("the answer of the node is incomplete: it stops in section %q", name)
	}
	return sections, nil
}

func lines(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == '\n' })
}

func parseFiles(stat, sums string, f Facts) {
	hashes := map[string]string{}
	for _, line := range lines(sums) {
		if hash, path, ok := strings.Cut(line, "  "); ok && len(hash) == 64 {
			hashes[path] = hash
		}
	}
	for _, line := range lines(stat) {
		meta, path, ok := strings.Cut(line, "|")
		seconds, meta, _ := strings.Cut(meta, " ")
		parts := strings.SplitN(meta, " ", 3)
		if !ok || len(parts) != 3 || !strings.HasPrefix(path, "/") {
			continue
		}
		if path == clockFile {
			f[clockNow] = seconds
			continue
		}
		if !strings.HasPrefix(parts[2], "regular") || hashes[path] == "" {
			f[Key("file", path)] = "other " + parts[2]
			continue
		}
		mode := parts[0]
		for len(mode) < 4 {
			mode = "0" + mode
		}
		f[Key("file", path)] = hashes[path] + " " + mode + " " + parts[1]
	}
}

// parseUnits reads the blocks of systemctl show: one a unit, in the order they
// were asked for, with a blank line between them.
func parseUnits(units []string, out string, f Facts) error {
	blocks := strings.Split(strings.Trim(out, "\n"), "\n\n")
	if len(blocks) != len(units) {
		return fmt.Errorf("systemctl show told of %d units instead of %d", len(blocks), len(units))
	}
	for i, unit := range units {
		for _, line := range lines(blocks[i]) {
			if k, v, ok := strings.Cut(line, "="); ok && v != "" && slices.Contains(unitProperties, k) {
				f[Key("unit", unit, k)] = v
			}
		}
	}
	return nil
}

// The manifest has one line for everything that fwprov put on the node, four
// fields with a tab between them: kind, name, step, detail.
func parseManifest(text string, f Facts) {
	for _, line := range lines(text) {
		p := strings.Split(line, "\t")
		if len(p) == 4 {
			f[Key("managed", p[0], p[1])] = strings.TrimSpace(p[2] + " " + p[3])
		}
	}
}

func renderManifest(f Facts) string {
	var b strings.Builder
	for _, name := range f.Names("managed") {
		kind, what, _ := strings.Cut(name, " ")
		step, detail, _ := strings.Cut(f.Get("managed", name), " ")
		b.WriteString(kind + "\t" + what + "\t" + step + "\t" + detail + "\n")
	}
	return b.String()
}

// maxContent bounds what is read of one file for its diff, in bytes.
const maxContent = 1 << 20

// contents is the command that prints the files of paths.
func contents(mark string, paths []string) string {
	var b strings.Builder
	b.WriteString(scriptHead + "exec 2>/dev/null </dev/null\n")
	for _, p := range paths {
		fmt.Fprintf(&b, "printf '\\n@%s %%s\\n' %s\nhead -c %d -- %s\n", mark, Quote("content "+p), maxContent, Quote(p))
	}
	fmt.Fprintf(&b, "printf '\\n@%s end\\n'\n", mark)
	return b.String()
}

// parseContents adds what contents printed to the facts, under keys that only
// the diffs of PlanFiles read.
func parseContents(mark, out string, f Facts) error {
	sections, err := split("@"+mark+" ", out)
	if err != nil {
		return err
	}
	for name, body := range sections {
		if path, ok := strings.CutPrefix(name, "content "); ok {
			f[old(path)] = body
		}
	}
	return nil
}
