package hcl

import (
	"strings"

	hcl2 "github.com/hashicorp/hcl/v2"
)

// kind is what an attribute's value must be.
type kind int

const (
	kindString kind = iota
	kindNumber
	kindBool
	kindDuration // "1m30s"
	kindAddress  // one IPv4 address
	kindNetwork  // one IPv4 network
	kindNetworks // a list of addresses and networks
	kindPorts    // a list of ports and "first-last"
	kindNames    // one name or a list of them
	kindHosts    // a map of node name to address
	kindSecret   // the only one that takes a sensitive value
	kindExpr     // not decoded as a value: the attributes of variable blocks
)

// title is how the reference names a kind.
func (k kind) title() string {
	return [...]string{
		kindString: "string", kindNumber: "number", kindBool: "bool", kindDuration: "duration",
		kindAddress: "address", kindNetwork: "network", kindNetworks: "list of addresses and networks",
		kindPorts: "list of ports", kindNames: "name or list of names", kindHosts: "map of node to address",
		kindSecret: "string, may be sensitive", kindExpr: "",
	}[k]
}

// attrType is one attribute of a block.
type attrType struct {
	name     string
	kind     kind
	typ      string // for the reference where kind.title does not say it
	required bool
	def      string // the default as the reference shows it, "" if required
	oneOf    []string
	doc      string
}

// blockType is one kind of block. The table of them in language.go is the
// language: decoding, "did you mean" and docs/inventory.md all read it.
type blockType struct {
	name     string
	label    string // what the label names, "" for none
	many     bool   // may stand more than once
	required bool
	static   bool // must be written out: `dynamic` cannot make it
	free     bool // takes attributes of any name
	doc      string
	attrs    []attrType
	blocks   []blockType
}

func (t *blockType) attr(name string) *attrType {
	for i := range t.attrs {
		if t.attrs[i].name == name {
			return &t.attrs[i]
		}
	}
	return nil
}

func (t *blockType) block(name string) *blockType {
	for i := range t.blocks {
		if t.blocks[i].name == name {
			return &t.blocks[i]
		}
	}
	return nil
}

func (t *blockType) attrNames() []string {
	names := make([]string, len(t.attrs))
	for i, a := range t.attrs {
		names[i] = a.name
	}
	return names
}

func (t *blockType) blockNames() []string {
	names := make([]string, len(t.blocks))
	for i, b := range t.blocks {
		names[i] = b.name
	}
	return names
}

// usage is how a block is written.
func (t *blockType) usage() string {
	if t.label == "" {
		return t.name + " { ... }"
	}
	return t.name + " \"" + strings.ToUpper(t.label) + "\" { ... }"
}

// body is the library's form of what a block may hold, without the blocks that
// are read before the rest can be evaluated. Nothing is required there: what is
// missing is reported with the block it is missing from.
func (t *blockType) body() *hcl2.BodySchema {
	s := &hcl2.BodySchema{}
	for _, a := range t.attrs {
		s.Attributes = append(s.Attributes, hcl2.AttributeSchema{Name: a.name})
	}
	for _, b := range t.blocks {
		if b.static {
			continue
		}
		h := hcl2.BlockHeaderSchema{Type: b.name}
		if b.label != "" {
			h.LabelNames = []string{b.label}
		}
		s.Blocks = append(s.Blocks, h)
	}
	return s
}
