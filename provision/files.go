package provision

import (
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
)

// Quote makes one word of s for a POSIX shell, whatever is in it. A NUL byte
// cannot be part of a word; the rules of inventories keep it out.
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// old is the key under which planning finds the content of a file that differs.
// It is not a fact that a change is computed from: the hash is.
func old(path string) string { return Key("content", path) }

// PlanFiles compares the files a step wants on a node with what is there and
// with the manifest, and returns the changes that make them so: files created,
// mended, and those removed that the manifest lists under this step and that
// are no longer wanted.
func PlanFiles(f Facts, step string, want ...File) []Change {
	var out []Change
	keep := map[string]bool{}
	for _, w := range want {
		keep[w.Path] = true
		if c, ok := planFile(f, step, w); ok {
			out = append(out, c)
		}
	}
	for _, path := range f.Names("managed", "file") {
		owner, _, _ := strings.Cut(f.Get("managed", "file", path), " ")
		if owner == step && !keep[path] {
			out = append(out, PlanRemove(f, step, path))
		}
	}
	return out
}

func planFile(f Facts, step string, w File) (Change, bool) {
	if w.Shown != nil && w.Perm()&0o077 != 0 {
		panic("provision: " + w.Path + " holds a secret and is not of mode 0600")
	}
	key, mkey := Key("file", w.Path), Key("managed", "file", w.Path)
	hash := Hash(w.Content)
	state, managed := FileState(hash, w.Perm(), "0:0"), step+" "+hash
	if f[key] == state && f[mkey] == managed {
		return Change{}, false
	}
	c := Change{Step: step, Target: w.Path, Action: Create, Write: &w,
		From: f.Select(key, mkey), Makes: Facts{key: state, mkey: managed}}
	if f[key] != "" {
		c.Action, c.Why = Update, whyUpdate(f, key, mkey, state)
	} else if f[mkey] != "" {
		c.Why = "was deleted by hand"
	}
	c.Diff = fileDiff(f, w, f[key] == "")
	return c, true
}

// whyUpdate tells a change by hand from one of the inventory.
func whyUpdate(f Facts, key, mkey, want string) string {
	have, rest, _ := strings.Cut(f[key], " ")
	hash, wantRest, _ := strings.Cut(want, " ")
	_, written, managed := strings.Cut(f[mkey], " ")
	switch {
	case !managed && have != hash:
		return "was not written by fwprov"
	case !managed:
		return "is as it should be, but not recorded as managed"
	case have != written:
		return "was changed by hand"
	case have == hash && rest != wantRest:
		return "mode or owner was changed"
	}
	return ""
}

func fileDiff(f Facts, w File, created bool) string {
	show := w.Content
	if w.Shown != nil {
		show = w.Shown
	}
	if created {
		return unified("/dev/null", w.Path, nil, show)
	}
	before, ok := f[old(w.Path)]
	if !ok {
		return ""
	}
	prev := []byte(before)
	if w.Mask != nil {
		prev = w.Mask(prev)
	}
	d := unified(w.Path, w.Path, prev, show)
	if have, _, _ := strings.Cut(f.Get("file", w.Path), " "); d == "" && have != Hash(w.Content) {
		return "(only sensitive values differ)\n"
	}
	return d
}

// PlanRemove is the change that removes a managed file.
func PlanRemove(f Facts, step, path string) Change {
	key, mkey := Key("file", path), Key("managed", "file", path)
	return Change{Step: step, Target: path, Action: Delete, Why: "left the inventory", Remove: path,
		From: f.Select(key, mkey), Makes: Facts{key: "", mkey: ""}}
}

// wanted lists the files whose present content is needed to show the diffs of
// changes, sorted.
func wanted(f Facts, changes []Change) []string {
	var paths []string
	for _, c := range changes {
		if c.Write == nil || c.Action != Update {
			continue
		}
		if _, ok := f[old(c.Write.Path)]; !ok {
			paths = append(paths, c.Write.Path)
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// unified is the unified diff of two texts, "" if they are the same.
func unified(fromName, toName string, from, to []byte) string {
	d := string(diff.Diff(fromName, from, toName, to))
	if _, rest, ok := strings.Cut(d, "\n"); ok && strings.HasPrefix(d, "diff ") {
		return rest
	}
	return d
}
