package inventories

import _ "embed"

// Guide is the guide's network as an inventory.
//
//go:embed guide.hcl
var Guide []byte

// Minimal is the least that describes a pair.
//
//go:embed minimal.hcl
var Minimal []byte
