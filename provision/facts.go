// Package provision makes a list of steps true on machines reached over SSH.
//
// A run is probe, plan, apply, confirm. The probe is one command per machine
// that all steps contribute a fragment to; what it prints becomes Facts. Each
// step plans by comparing the facts with what it wants, without a network, and
// returns Changes. Apply carries out exactly those changes. All four are plain
// values that can be printed, compared and saved.
//
// The package knows machines, files and units. It knows nothing of firewalls;
// package steps does.
package provision

import (
	"maps"
	"slices"
	"strings"
)

// Facts is what is known about a machine: a flat map, so that facts can be
// compared, printed and saved without knowing what they are about. A key is a
// kind, a space, and a name ("file /etc/hosts", "unit sshd.service
// ActiveState"). An absent key and an empty value mean the same: there is no
// such thing on the machine.
//
// The engine itself provides, for the paths and units that the steps' probes
// name and for everything the manifest lists:
//
//	file PATH              FileState of a regular file; "other" and its type for anything else
//	managed KIND NAME      "STEP DETAIL", from the manifest; for files DETAIL is the hash as written
//	unit NAME PROPERTY     LoadState, ActiveState, UnitFileState, NeedDaemonReload
//	clock date             the date, only if it cannot be right
//	clock off              how far the clock is ahead of fwprov's, in whole hours: "24h", "-3h"; absent within an hour
//	lost                   what the node could not restore when it last went back; absent if it could, or never did
//	asked from, asked until  only to a Verifier: when the node was asked, by fwprov's clock, in microseconds
//	loaded NAME            hash of the configuration the unit NAME loaded last, see LoadedHash
type Facts map[string]string

// Key joins the words of a fact's key.
func Key(words ...string) string { return strings.Join(words, " ") }

// Get is the value of the key made of words, "" if there is none.
func (f Facts) Get(words ...string) string { return f[Key(words...)] }

// With returns a copy of f in which the facts of changes hold.
func (f Facts) With(changes ...Facts) Facts {
	out := maps.Clone(f)
	if out == nil {
		out = Facts{}
	}
	for _, c := range changes {
		for k, v := range c {
			if v == "" {
				delete(out, k)
			} else {
				out[k] = v
			}
		}
	}
	return out
}

// Keys returns the keys that start with the words of prefix followed by one
// more word at least, sorted.
func (f Facts) Keys(prefix ...string) []string {
	p := Key(prefix...) + " "
	var keys []string
	for k := range f {
		if strings.HasPrefix(k, p) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// Names returns what follows the words of prefix in the keys that start with
// them, sorted.
func (f Facts) Names(prefix ...string) []string {
	keys := f.Keys(prefix...)
	n := len(Key(prefix...)) + 1
	for i, k := range keys {
		keys[i] = k[n:]
	}
	return keys
}

// Select returns the facts of keys, absent ones as "", so that a later
// comparison notices when one has appeared.
func (f Facts) Select(keys ...string) Facts {
	out := Facts{}
	for _, k := range keys {
		out[k] = f[k]
	}
	return out
}
