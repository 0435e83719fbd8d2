package inventories

// Problem is one broken rule.
type Problem struct {
	// Path names the value: "vlan.mail.id", "allow.admin.sources[1]",
	// "service.smtp.server.mx1.address", "node" for the nodes as such, and
	// "vlan.mail.name" for a name.
	Path    string
	Summary string // what, in a few words, the same for every value
	Detail  string // the value, and what to do
	Warning bool   // the pair works, but not as one would expect

	// Depends are further paths that the verdict was taken from. If one of them is
	// not known or was refused already, the problem only follows from that.
	// "vlan" stands for the set of VLANs.
	Depends []string
}

// Problems checks every rule that a pair obeys, and returns all that are broken,
// in the order of the model.
func (p *Pair) Problems() []Problem {
	return nil
}
