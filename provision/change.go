package provision

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
)

// Action says what a change does to its target.
type Action string

// The actions.
const (
	Create Action = "create"
	Update Action = "update"
	Delete Action = "delete"
	Run    Action = "run" // a command: load rules, start a unit, install packages
)

// Change is one thing that a step wants done on a node, complete: applying it
// needs no decision. It never holds a secret except inside Write.Content, which
// is not marshalled.
type Change struct {
	Step       string `json:"step"`
	Target     string `json:"target"` // a path, a unit, an interface: what an operator would call it
	Action     Action `json:"action"`
	Why        string `json:"why,omitempty"` // a few words, if the target does not say it
	Disruptive bool   `json:"disruptive"`    // interrupts traffic or may move a VIP
	Diff       string `json:"diff,omitempty"`
	// Cost says what a disruptive change of the active node costs those who use
	// it: "the VIPs move to fw02, about 0.6s without an answer".
	Cost string `json:"cost,omitempty"`
	// Together names what all nodes have to agree on and what this change makes
	// other than it is in force: the nodes that have such a change are changed
	// together. "" if there is none.
	Together string `json:"together,omitempty"`

	// Late changes are carried out after all others, in the reverse order of
	// the steps: what others must let go of first, such as an interface.
	Late bool `json:"late,omitempty"`
	// Enables: the script enables a unit without a daemon-reload, of which one does for
	// several.
	Enables bool `json:"-"`
	// Risky changes could cut the operator off from the node.
	Risky bool `json:"risky,omitempty"`

	From  Facts `json:"from,omitempty"`  // the facts it was computed from
	Makes Facts `json:"makes,omitempty"` // the facts it will make true; "" makes one absent

	Write  *File  `json:"-"`                // a file to put in place, before Script
	Remove string `json:"remove,omitempty"` // a path to remove, before Script
	Script string `json:"script,omitempty"` // POSIX sh, run as root under set -eu
}

// File is a file as it has to be on a node. Owner and group are root.
type File struct {
	Path    string
	Content []byte
	Mode    fs.FileMode // permission bits; 0 means 0644
	// Shown is Content with its secrets masked; nil if there are none. A file
	// with Shown must have a Mode without access for group and others.
	Shown []byte
	// Mask masks the secrets of an older version of the file that was found on
	// a node, for the diff. Nil if there is nothing to mask.
	Mask func([]byte) []byte
}

// Perm is the file's mode with the default filled in.
func (f File) Perm() fs.FileMode {
	if f.Mode == 0 {
		return 0o644
	}
	return f.Mode.Perm()
}

// Hash is how the content of a file is named in facts.
func Hash(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// FileState is the fact of a regular file: hash, mode and owner.
func FileState(hash string, mode fs.FileMode, owner string) string {
	return fmt.Sprintf("%s %04o %s", hash, mode.Perm(), owner)
}

// LoadedHash is the hash of what a daemon loads from the files given, in
// order, as its unit's drop-in records it in LoadedDir with
// `cat FILES | sha256sum`.
func LoadedHash(contents ...[]byte) string {
	h := sha256.New()
	for _, c := range contents {
		h.Write(c)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Where fwprov keeps its own things on a node.
const (
	StateDir  = "/var/lib/fwprov"
	Manifest  = StateDir + "/manifest"
	RunDir    = "/run/fwprov"
	LoadedDir = RunDir + "/loaded" // one file a unit, named after it, with the hash of what it loaded
)
