package provision

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"fwprov/provision/remote"
)

// The history of a node is a folder with a folder for each generation, that is for
// each apply that changed the pair and was confirmed:
//
//	0007/meta.json   who, when, from what, and what was changed
//	0007/source      what the caller needs to come back to it
//	0007/files/...   the managed files as they were in force
//
// new is the one in the making. A generation gets its name before the node is
// confirmed, and going back removes it: there is none of what was not kept.
const (
	historyDir     = StateDir + "/history"
	newGeneration  = historyDir + "/new"
	generationMark = snapshotDir + "/generation" // names the folder that going back removes
	keptBefore     = 20                          // generations that stay
	maxMeta        = 4 << 20
	maxSource      = 16 << 20
)

// Record is what a run leaves in the history of the nodes, besides what it did.
type Record struct {
	Source  []byte // what the caller needs to come back to it; it may hold secrets and never leaves the nodes but through Source
	Origin  Origin
	Tool    string   // version of the program
	Note    string   // "rollback to 3"
	Partial []string // the flags that left something out: "--only iptables"
}

// Origin is where a source was read from.
type Origin struct {
	File   string `json:"file"`
	SHA256 string `json:"sha256"`           // of the file as it was read
	Commit string `json:"commit,omitempty"` // of the git checkout it is in
	Dirty  bool   `json:"dirty,omitempty"`  // it was not as in that commit
}

// Generation is one apply in the history of a node.
type Generation struct {
	N        int        `json:"n"` // counts up from 1; the same on all nodes of a run
	Run      string     `json:"run"`
	Time     time.Time  `json:"time"` // of the confirmation, by the operator's clock
	Operator string     `json:"operator"`
	Origin   Origin     `json:"inventory"`
	Tool     string     `json:"tool"`
	Note     string     `json:"note,omitempty"`
	Partial  []string   `json:"partial,omitempty"`
	Changes  []Recorded `json:"changes"`

	digest string // of the source
}

// Recorded is a change as the history has it.
type Recorded struct {
	Step   string `json:"step"`
	Target string `json:"target"`
	Action Action `json:"action"`
	Why    string `json:"why,omitempty"`
}

// SameSource reports whether two generations were made from sources that mean the
// same.
func (g Generation) SameSource(o Generation) bool { return g.digest == o.digest }

// journal is the generation that a run writes.
type journal struct {
	r      *Runner
	number int
	opened map[string]bool // nodes with a folder new that has not become a generation
}

// openJournal lays the source down on all nodes and settles the number. It is nil
// if the run leaves no generations.
func (r *Runner) openJournal(ctx context.Context, nodes []*NodePlan) (*journal, error) {
	if r.Record == nil {
		return nil, nil
	}
	j := &journal{r: r, opened: map[string]bool{}}
	last := make([]int, len(nodes))
	of := make([]Node, len(nodes))
	for i, n := range nodes {
		of[i].Name = n.Name
		j.opened[n.Name] = true
	}
	err := each(of, func(i int, n Node) error {
		res, err := r.exec(context.WithoutCancel(ctx), n.Name, "begin a generation of the history", fileTimeout,
			remote.Command{Script: openScript, Stdin: bytes.NewReader(r.Record.Source)})
		if err == nil {
			last[i], err = lastGeneration(string(res.Stdout))
		}
		return err
	})
	if err != nil {
		j.close(ctx)
		return nil, err
	}
	j.number = slices.Max(last) + 1
	return j, nil
}

// openScript takes the source from its standard input and prints the names in the
// history.
const openScript = scriptHead + `set -eu
umask 077
mkdir -p ` + historyDir + `
rm -rf ` + newGeneration + `
mkdir ` + newGeneration + `
cat >` + newGeneration + `/source
ls ` + historyDir + `
`

// lastGeneration is the highest number in a listing of the history, 0 without any.
func lastGeneration(listing string) (int, error) {
	last := 0
	for _, name := range lines(listing) {
		if n, err := strconv.Atoi(name); err == nil {
			last = max(last, n)
		}
	}
	if last > 1<<30 {
		return 0, fmt.Errorf("generation %d of the history is none of fwprov's: remove it from %s", last, historyDir)
	}
	return last, nil
}

// script is what makes a generation of a node, to be run when all its changes are
// made: "" if the run leaves none. It fails if the generation cannot be written.
func (j *journal) script(n *NodePlan) string {
	if j == nil {
		return ""
	}
	g := Generation{N: j.number, Run: j.r.ID, Time: j.r.Now().UTC().Truncate(time.Second), Operator: j.r.Operator,
		Origin: j.r.Record.Origin, Tool: j.r.Record.Tool, Note: j.r.Record.Note, Partial: j.r.Record.Partial, Changes: []Recorded{}}
	for _, c := range n.Changes {
		g.Changes = append(g.Changes, Recorded{c.Step, c.Target, c.Action, c.Why})
	}
	meta, err := json.Marshal(g)
	if err != nil {
		panic("provision: " + err.Error())
	}
	dir := fmt.Sprintf("%s/%04d", historyDir, j.number)
	return fmt.Sprintf(`(
set -eu
! grep -qsF '"run":"%[2]s"' %[6]s/meta.json || exit 0 # a second try
umask 077
cat >%[1]s/meta.json <<'%[2]s'
%[3]s
%[2]s
mkdir -p %[1]s/files
cd / # where cp (9.1) looks for the folders whose modes it keeps
grep '^file	' %[4]s | cut -f 2 | while IFS= read -r f; do [ ! -e "$f" ] || printf '%%s\n' "$f"; done | xargs -r -d '\n' cp -a --parents -t %[1]s/files --
[ ! -d %[5]s ] || echo %[6]s >%[7]s
rm -rf %[6]s
mv -T %[1]s %[6]s
sync
)
[ $? -eq 0 ] || exit 1 # set -e does nothing before ||
`, newGeneration, j.r.ID, meta, Manifest, snapshotDir, dir, generationMark)
}

// pruneScript removes the oldest generations.
var pruneScript = fmt.Sprintf("ls %[1]s 2>/dev/null | grep -x '[0-9]*' | sort -n | head -n -%[2]d | sed 's|^|%[1]s/|' | xargs -r rm -rf --\n", historyDir, keptBefore)

// written says that a node's generation is in place.
func (j *journal) written(node string) {
	if j != nil {
		j.r.mu.Lock()
		defer j.r.mu.Unlock()
		delete(j.opened, node)
	}
}

// complete makes a generation of the nodes that had nothing to be changed: what is
// in force there is of this run as well.
func (j *journal) complete(ctx context.Context, nodes []*NodePlan) error {
	var errs []error
	for _, n := range nodes {
		if j != nil && j.opened[n.Name] {
			errs = append(errs, j.write(ctx, n))
		}
	}
	return errors.Join(errs...)
}

// write makes a generation of a node that has nothing to be confirmed.
func (j *journal) write(ctx context.Context, n *NodePlan) error {
	if j == nil {
		return nil
	}
	script := scriptHead + j.script(n) + pruneScript
	_, err := j.r.exec(context.WithoutCancel(ctx), n.Name, "write the history", fileTimeout, remote.Command{Script: script, Private: true})
	if err == nil {
		j.written(n.Name)
	}
	return err
}

// close removes what did not become a generation.
func (j *journal) close(ctx context.Context) {
	if j == nil {
		return
	}
	var left []Node
	for _, name := range slices.Sorted(maps.Keys(j.opened)) {
		left = append(left, Node{Name: name})
	}
	_ = each(left, func(_ int, n Node) error {
		_, err := j.r.exec(context.WithoutCancel(ctx), n.Name, "tidy the history", fileTimeout, remote.Command{Script: "rm -rf " + newGeneration})
		if err != nil {
			j.r.Log.Warn("an unfinished generation is left", "node", n.Name, "dir", newGeneration, "error", err)
		}
		return nil
	})
}

// History returns the generations of all nodes, by node name, the oldest first.
// What cannot be read is part of the error, beside what can.
func (r *Runner) History(ctx context.Context) (map[string][]Generation, error) {
	found := make([][]Generation, len(r.Nodes))
	err := each(r.Nodes, func(i int, n Node) error {
		res, err := r.exec(ctx, n.Name, "read the history", fileTimeout, remote.Command{Script: historyScript(r.ID)})
		if err != nil {
			return err
		}
		if found[i], err = parseHistory(r.ID, string(res.Stdout)); err != nil {
			return fmt.Errorf("node %s: read the history: %w", n.Name, err)
		}
		return nil
	})
	out := map[string][]Generation{}
	for i, n := range r.Nodes {
		out[n.Name] = found[i]
	}
	return out, err
}

func historyScript(mark string) string {
	return scriptHead + fmt.Sprintf(`cd %[1]s 2>/dev/null && for g in *; do
	[ -f "$g/meta.json" ] && [ -f "$g/source" ] && [ "$g" != new ] || continue
	printf '\n@%[2]s %%s %%s\n' "$g" "$(sha256sum <"$g/source" | cut -d ' ' -f 1)"
	head -c %[3]d "$g/meta.json"
done
printf '\n@%[2]s end\n'
`, historyDir, mark, maxMeta)
}

func parseHistory(mark, out string) ([]Generation, error) {
	sections, err := split("@"+mark+" ", out)
	if err != nil {
		return nil, err
	}
	delete(sections, "end")
	var found []Generation
	var bad []string
	for _, head := range slices.Sorted(maps.Keys(sections)) {
		name, digest, _ := strings.Cut(head, " ")
		var g Generation
		n, err := strconv.Atoi(name)
		if err == nil {
			err = json.Unmarshal([]byte(sections[head]), &g)
		}
		if err != nil || g.N != n || n < 1 || len(digest) != 64 || g.Run == "" {
			bad = append(bad, Printable(name))
			continue
		}
		g.digest = digest
		found = append(found, g)
	}
	slices.SortStableFunc(found, func(a, b Generation) int { return a.N - b.N })
	if len(bad) > 0 {
		err = fmt.Errorf("not as fwprov wrote it: generation %s in %s", strings.Join(bad, ", "), historyDir)
	}
	return found, err
}

// Source returns what Record.Source was in the run that made a generation of a
// node.
func (r *Runner) Source(ctx context.Context, node string, g Generation) ([]byte, error) {
	res, err := r.exec(ctx, node, "read the history", fileTimeout,
		remote.Command{Script: fmt.Sprintf("%scat %s/%04d/source", scriptHead, historyDir, g.N), MaxOutput: maxSource})
	if err != nil {
		return nil, err
	}
	if Hash(res.Stdout) != g.digest {
		return nil, fmt.Errorf("node %s: generation %d has changed while it was read", node, g.N)
	}
	return res.Stdout, nil
}
